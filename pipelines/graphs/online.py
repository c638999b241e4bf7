"""The online loop: sample, reward, train, evaluate, epoch after epoch."""
# kfp reads annotations as objects: no `from __future__ import annotations` here.

from collections.abc import Callable
from typing import Any

from kfp import dsl
from kfp.dsl import Model

from reward_finetuning.components.launch_run_epochs import launch_run_epochs
from reward_finetuning.components.launch_train_epoch import launch_train_epoch
from reward_finetuning.components.run_epochs import run_epochs as run_epochs_component
from reward_finetuning.components.train_epoch import train_epoch as train_epoch_component
from reward_finetuning.config import RunConfig
from reward_finetuning.config.options import address_of
from reward_finetuning.pipelines.graphs.conditions import when
from reward_finetuning.pipelines.graphs.evaluation import evaluation
from reward_finetuning.pipelines.graphs.first_task import first_task, first_task_of_another_run
from reward_finetuning.pipelines.graphs.rollouts import scored_shards
from reward_finetuning.pipelines.targets.target import Target


def fused(target: Target, config: RunConfig) -> Any:
    """All epochs that are left in one task."""
    begin, finish = first_task(target, config), _all_epochs(target)

    @dsl.pipeline(name="online-fused", description="Reward finetuning, many epochs in one task.")
    def pipeline(run: str = address_of(config), options: str = "") -> Model:
        return finish(begin(run=run, options=options))

    return pipeline


def fused_of_another_run(target: Target, _config: RunConfig) -> Any:
    """As `fused`, for a config that is known when the pipeline runs: part of a retraining."""
    begin, finish = first_task_of_another_run(target), _all_epochs(target)

    @dsl.pipeline(name="online-fused")
    def pipeline(config: str) -> Model:
        return finish(begin(config=config))

    return pipeline


def _all_epochs(target: Target) -> Callable[[Any], Any]:
    run_epochs = target.trainer(run_epochs_component, launch_run_epochs)
    return lambda start: run_epochs(config=start.outputs["run"], plan=start.outputs["plan"]).outputs["policy"]


def split(target: Target, config: RunConfig) -> Any:
    """A block of epochs, a task per role and shard; which epochs they are is known at run time."""
    begin = first_task(target, config)
    train = (_looped if target.loops_over_epochs else _unrolled)(target, config)

    @dsl.pipeline(name="online-split", description="Reward finetuning, a task per role, epoch and shard.")
    def pipeline(run: str = address_of(config), options: str = "") -> None:
        train(begin(run=run, options=options))

    return pipeline


def _looped(target: Target, config: RunConfig) -> Callable[[Any], None]:
    """Epochs as iterations of a loop, one after the other: the size of the package does not depend on their number."""
    one_epoch = _epoch(target, config)

    # A nested pipeline, because kfp.local takes outputs of a task for the items of a loop that uses them.
    @dsl.pipeline(name="epochs")
    def epochs(config: str, epochs: list[str]) -> None:
        with dsl.ParallelFor(epochs, "epochs", parallelism=1) as epoch:
            one_epoch(config=config, epoch=epoch)

    def train(start: Any) -> None:
        epochs(config=start.outputs["run"], epochs=start.outputs["epochs"]).set_display_name("epochs in turn")

    return train


def _unrolled(target: Target, config: RunConfig) -> Callable[[Any], None]:
    """Epochs as nested pipelines that wait for each other, for services that promise no order of iterations."""
    one_epoch, num_epochs = _epoch(target, config), config.loop.unrolled_epochs

    @dsl.pipeline(name="epoch")
    def epoch_pipeline(config: str, epoch: str, offset: int) -> None:
        one_epoch(config=config, epoch=epoch, offset=offset)

    def train(start: Any) -> None:
        last = start
        for offset in range(num_epochs):
            one = epoch_pipeline(config=start.outputs["run"], epoch=start.outputs["first"], offset=offset)
            last = one.after(last).set_display_name(f"epoch {offset + 1} of this pipeline run")

    return train


def _epoch(target: Target, config: RunConfig) -> Callable[..., None]:
    """A piece of a graph: (config, epoch, offset) -> nothing."""
    draw_and_score = scored_shards(target, config.loop.num_shards, is_repeated=target.loops_over_epochs)
    train_epoch = target.trainer(train_epoch_component, launch_train_epoch)
    evaluate = evaluation(target, config.evaluation.num_shards)

    def one_epoch(**arguments: Any) -> None:
        trained = train_epoch(**arguments).after(*draw_and_score(**arguments))
        with when(trained.outputs["Output"], "evaluation is due"):
            evaluate(config=arguments["config"], policy=trained.outputs["next_policy"])

    return one_epoch
