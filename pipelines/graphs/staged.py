"""Staged PPOD: few stages, each of them sampled, scored, trained until it converges, and evaluated; then a gate."""
# kfp reads annotations as objects: no `from __future__ import annotations` here.

from typing import Any

from kfp import dsl
from kfp.dsl import Input, Model

from components.gate import gate as gate_component
from components.launch_train_epoch import launch_train_epoch
from components.next_epochs import next_epochs as next_epochs_component
from components.promote import promote as promote_component
from components.train_epoch import train_epoch as train_epoch_component
from pipelines.graphs.conditions import when
from pipelines.graphs.evaluation import evaluation
from pipelines.graphs.rollouts import rollouts_and_rewards
from pipelines.targets.target import Target
from reward_finetuning.config import RunConfig


def staged(target: Target, config: RunConfig) -> Any:
    """All stages of a run in one package; an epoch is a stage."""
    next_epochs = target.component(next_epochs_component)
    draw_and_score = rollouts_and_rewards(target)
    train_epoch = target.trainer(train_epoch_component, launch_train_epoch)
    evaluate = evaluation(target, config.evaluation.num_shards)
    gate = target.component(gate_component)
    promote = target.component(promote_component)

    @dsl.pipeline(name="stage")
    def stage(config: str, plan: str, offset: int, policy: Input[Model]) -> Model:
        drawn = draw_and_score(config=config, plan=plan, offset=offset, policy=policy)
        trained = train_epoch(config=config, policy=policy, **drawn.collected())
        next_policy = trained.outputs["next_policy"]
        evaluate(config=config, policy=next_policy)
        return next_policy

    num_stages = config.loop.epochs

    @dsl.pipeline(name="staged", description="Reward finetuning in stages, and a gate before promotion.")
    def pipeline(config: str = config.model_dump_json(), inputs: str = "") -> None:
        start = next_epochs(config=config, inputs=inputs)
        policy, last = start.outputs["policy"], start
        for offset in range(num_stages):
            last = stage(config=config, plan=start.outputs["Output"], offset=offset, policy=policy)
            policy = last.set_display_name(f"stage +{offset}").output
        passed = gate(config=config, policy=policy).after(last)
        with when(passed, "the last policy passed the gate"):
            promote(config=config, policy=policy)

    return pipeline
