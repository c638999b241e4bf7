"""Offline training: the pretrained model's images, drawn and scored once, then training passes over them."""
# kfp reads annotations as objects: no `from __future__ import annotations` here.

from typing import Any

from kfp import dsl

from components.evaluation_due import evaluation_due as evaluation_due_component
from components.launch_train_epoch import launch_train_epoch
from components.next_epochs import next_epochs as next_epochs_component
from components.train_epoch import train_epoch as train_epoch_component
from pipelines.graphs.conditions import when
from pipelines.graphs.evaluation import evaluation
from pipelines.graphs.rollouts import rollouts_and_rewards
from pipelines.targets.target import Target
from reward_finetuning.config import RunConfig


def offline(target: Target, config: RunConfig) -> Any:
    """A block of epochs_per_run passes; the images of an earlier pipeline run are reused."""
    next_epochs = target.component(next_epochs_component)
    evaluation_due = target.component(evaluation_due_component)
    draw_and_score = rollouts_and_rewards(target)
    train_epoch = target.trainer(train_epoch_component, launch_train_epoch)
    evaluate = evaluation(target, config.evaluation.num_shards)
    num_passes = config.loop.epochs_per_run

    @dsl.pipeline(name="offline", description="Reward finetuning on one set of images of the pretrained model.")
    def pipeline(config: str = config.model_dump_json(), inputs: str = "") -> None:
        start = next_epochs(config=config, inputs=inputs)
        plan, policy = start.outputs["Output"], start.outputs["policy"]
        drawn = draw_and_score(config=config, plan=plan, offset=0, policy=policy)
        for offset in range(num_passes):
            trained = train_epoch(config=config, policy=policy, **drawn.collected())
            policy = trained.set_display_name(f"pass +{offset}").outputs["next_policy"]
            due = evaluation_due(config=config, plan=plan, offset=offset)
            with when(due, "evaluation is due"):
                evaluate(config=config, policy=policy)

    return pipeline
