"""The online loop: sample, reward, train, evaluate, epoch after epoch."""
# kfp reads annotations as objects: no `from __future__ import annotations` here.

from typing import Any

from kfp import dsl
from kfp.dsl import Input, Model

from components.evaluation_due import evaluation_due as evaluation_due_component
from components.launch_run_epochs import launch_run_epochs
from components.launch_train_epoch import launch_train_epoch
from components.next_epochs import next_epochs as next_epochs_component
from components.run_epochs import run_epochs as run_epochs_component
from components.train_epoch import train_epoch as train_epoch_component
from pipelines.graphs.conditions import when
from pipelines.graphs.evaluation import evaluation
from pipelines.graphs.rollouts import rollouts_and_rewards
from pipelines.targets.target import Target
from reward_finetuning.config import RunConfig


def fused(target: Target, config: RunConfig) -> Any:
    """All epochs that are left in one task."""
    next_epochs = target.component(next_epochs_component)
    run_epochs = target.trainer(run_epochs_component, launch_run_epochs)

    @dsl.pipeline(name="online-fused", description="Reward finetuning, many epochs in one task.")
    def pipeline(config: str = config.model_dump_json(), inputs: str = "") -> Model:
        start = next_epochs(config=config, inputs=inputs)
        return run_epochs(config=config, plan=start.outputs["Output"]).outputs["policy"]

    return pipeline


def split(target: Target, config: RunConfig) -> Any:
    """A block of epochs_per_run epochs, a task per role and shard; which epochs they are is known at run time."""
    next_epochs = target.component(next_epochs_component)
    evaluation_due = target.component(evaluation_due_component)
    draw_and_score = rollouts_and_rewards(target)
    train_epoch = target.trainer(train_epoch_component, launch_train_epoch)
    evaluate = evaluation(target, config.evaluation.num_shards)

    @dsl.pipeline(name="epoch")
    def epoch(config: str, plan: str, offset: int, policy: Input[Model]) -> Model:
        drawn = draw_and_score(config=config, plan=plan, offset=offset, policy=policy)
        trained = train_epoch(config=config, policy=policy, **drawn.collected())
        next_policy = trained.outputs["next_policy"]
        due = evaluation_due(config=config, plan=plan, offset=offset)
        with when(due, "evaluation is due"):
            evaluate(config=config, policy=next_policy)
        return next_policy

    epochs_per_run = config.loop.epochs_per_run

    @dsl.pipeline(name="online-split", description="Reward finetuning, a task per role, epoch and shard.")
    def pipeline(config: str = config.model_dump_json(), inputs: str = "") -> None:
        start = next_epochs(config=config, inputs=inputs)
        policy = start.outputs["policy"]
        for offset in range(epochs_per_run):
            one = epoch(config=config, plan=start.outputs["Output"], offset=offset, policy=policy)
            policy = one.set_display_name(f"epoch +{offset}").output

    return pipeline
