"""Offline training: the pretrained model's images, drawn and scored once, then training passes over them."""
# kfp reads annotations as objects: no `from __future__ import annotations` here.

from typing import Any

from kfp import dsl

from reward_finetuning.components.launch_train_epoch import launch_train_epoch
from reward_finetuning.components.train_epoch import train_epoch as train_epoch_component
from reward_finetuning.config import RunConfig
from reward_finetuning.config.options import address_of
from reward_finetuning.pipelines.graphs.conditions import when
from reward_finetuning.pipelines.graphs.evaluation import evaluation
from reward_finetuning.pipelines.graphs.first_task import first_task
from reward_finetuning.pipelines.graphs.rollouts import scored_shards
from reward_finetuning.pipelines.targets.target import Target


def offline(target: Target, config: RunConfig) -> Any:
    """A block of passes, unrolled on every target; the images of an earlier pipeline run are reused."""
    begin = first_task(target, config)
    draw_and_score = scored_shards(target, config.loop.num_shards)
    train_epoch = target.trainer(train_epoch_component, launch_train_epoch)
    evaluate = evaluation(target, config.evaluation.num_shards)
    num_passes = config.loop.unrolled_epochs

    @dsl.pipeline(name="offline", description="Reward finetuning on one set of images of the pretrained model.")
    def pipeline(run: str = address_of(config), options: str = "") -> None:
        start = begin(run=run, options=options)
        config, first = start.outputs["run"], start.outputs["first"]
        last = draw_and_score(config=config, epoch=first)
        for offset in range(num_passes):
            trained = train_epoch(config=config, epoch=first, offset=offset).after(*last)
            last = [trained.set_display_name(f"pass {offset + 1} of this pipeline run")]
            with when(trained.outputs["Output"], "evaluation is due"):
                evaluate(config=config, policy=trained.outputs["next_policy"])

    return pipeline
