"""Scheduled retraining: the champion is trained on new prompts, evaluated, and held against what it was."""
# kfp reads annotations as objects: no `from __future__ import annotations` here.

from typing import Any

from kfp import dsl

from reward_finetuning.components.begin_retraining import begin_retraining as begin_retraining_component
from reward_finetuning.components.promote import promote as promote_component
from reward_finetuning.config import RunConfig
from reward_finetuning.config.options import address_of
from reward_finetuning.pipelines.graphs.online import fused_of_another_run
from reward_finetuning.pipelines.graphs.staged import staged_of_another_run
from reward_finetuning.pipelines.targets.target import Target


def retraining(target: Target, config: RunConfig) -> Any:
    """One retraining, in one pipeline run; which prompts and which champion is known at run time."""
    begin_retraining = target.component(begin_retraining_component)
    promote = target.component(promote_component)
    is_staged = config.loop.granularity == "staged"
    train = (staged_of_another_run if is_staged else fused_of_another_run)(target, config)
    series = config.model_dump_json()

    @dsl.pipeline(name="retraining", description="A new prompt set: train the champion on it, evaluate, promote.")
    def pipeline(run: str = address_of(config), options: str = "") -> None:
        begun = begin_retraining(config=series, run=run, options=options).output
        trained = train(config=begun)
        if not is_staged:  # stages end in a promotion of their own
            promote(config=begun, policy=trained.output)

    return pipeline
