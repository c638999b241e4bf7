"""Staged PPOD: few stages, each of them sampled, scored, trained until it converges, and evaluated; then a gate."""
# kfp reads annotations as objects: no `from __future__ import annotations` here.

from collections.abc import Callable
from typing import Any

from kfp import dsl
from kfp.dsl import Model

from reward_finetuning.components.gate import gate as gate_component
from reward_finetuning.components.launch_train_epoch import launch_train_epoch
from reward_finetuning.components.promote import promote as promote_component
from reward_finetuning.components.train_epoch import train_epoch as train_epoch_component
from reward_finetuning.config import RunConfig
from reward_finetuning.config.options import address_of
from reward_finetuning.pipelines.graphs.conditions import when
from reward_finetuning.pipelines.graphs.evaluation import evaluation
from reward_finetuning.pipelines.graphs.first_task import first_task, first_task_of_another_run
from reward_finetuning.pipelines.graphs.rollouts import scored_shards
from reward_finetuning.pipelines.targets.target import Target


def staged(target: Target, config: RunConfig) -> Any:
    """All stages of a run in one package; an epoch is a stage."""
    begin, finish = first_task(target, config), _all_stages(target, config)

    @dsl.pipeline(name="staged", description="Reward finetuning in stages, and a gate before promotion.")
    def pipeline(run: str = address_of(config), options: str = "") -> None:
        finish(begin(run=run, options=options))

    return pipeline


def staged_of_another_run(target: Target, config: RunConfig) -> Any:
    """As `staged`, for a config that is known when the pipeline runs: part of a retraining."""
    begin, finish = first_task_of_another_run(target), _all_stages(target, config)

    @dsl.pipeline(name="staged")
    def pipeline(config: str) -> None:
        finish(begin(config=config))

    return pipeline


def _all_stages(target: Target, config: RunConfig) -> Callable[[Any], None]:
    draw_and_score = scored_shards(target, config.loop.num_shards)
    train_epoch = target.trainer(train_epoch_component, launch_train_epoch)
    evaluate = evaluation(target, config.evaluation.num_shards)
    gate = target.component(gate_component)
    promote = target.component(promote_component)

    @dsl.pipeline(name="stage")
    def stage(config: str, epoch: str, offset: int) -> Model:
        shards = draw_and_score(config=config, epoch=epoch, offset=offset)
        trained = train_epoch(config=config, epoch=epoch, offset=offset).after(*shards)
        policy = trained.outputs["next_policy"]
        evaluate(config=config, policy=policy)
        return policy

    num_stages = config.loop.epochs

    def finish(start: Any) -> None:
        config, last = start.outputs["run"], start
        for offset in range(num_stages):
            one = stage(config=config, epoch=start.outputs["first"], offset=offset).after(last)
            last = one.set_display_name(f"stage {offset + 1} of this pipeline run")
        passed = gate(config=config, policy=last.output).after(last)
        with when(passed.output, "the last policy passed the gate"):
            promote(config=config, policy=last.output)

    return finish
