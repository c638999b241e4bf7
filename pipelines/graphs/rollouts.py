"""What every graph begins an epoch with: shards side by side, each sampled and then scored."""
# kfp reads annotations as objects: no `from __future__ import annotations` here.

from collections.abc import Callable
from typing import Any

from kfp import dsl

from reward_finetuning.components.draw import draw as draw_component
from reward_finetuning.components.reward import reward as reward_component
from reward_finetuning.components.sample import sample as sample_component
from reward_finetuning.pipelines.targets.target import Target

MOST_IN_A_GRAPH = 32
"""Shards that are tasks of an epoch's graph. Each adds about 4 KB to the package, and none to an epoch's state."""


def scored_shards(target: Target, num_shards: int, *, is_repeated: bool = False) -> Callable[..., list[Any]]:
    """A piece of a graph: (config, epoch, offset) -> the tasks after which all shards are in the run directory.

    One task samples and scores a shard where both roles have the same pool and image.

    Args:
        target: where the package runs.
        num_shards: parts of an epoch.
        is_repeated: whether the graph is the body of the loop over epochs. There the shards are tasks beside each
            other, because a loop over them costs a driver for each shard of each epoch, and two more that wait.
    """
    score = _in_one_task(target) if target.is_one_place("sample", "reward") else _in_two_tasks(target)
    shards = [str(shard) for shard in range(num_shards)]
    if is_repeated and num_shards <= MOST_IN_A_GRAPH:
        return lambda **arguments: [score(shard=shard, **arguments) for shard in shards]

    # A nested pipeline, because no task can come after one inside a loop.
    @dsl.pipeline(name="shards")
    def all_shards(config: str, epoch: str, offset: int) -> None:
        with dsl.ParallelFor(shards, "shards") as shard:
            score(shard=shard, config=config, epoch=epoch, offset=offset)

    return lambda **arguments: [all_shards(**{"offset": 0, **arguments})]


def _in_one_task(target: Target) -> Callable[..., Any]:
    draw = target.component(draw_component)

    def score(*, shard: Any, **arguments: Any) -> Any:
        return _named(draw(shard=shard, **arguments), "sample and reward", shard)

    return score


def _in_two_tasks(target: Target) -> Callable[..., Any]:
    sample, reward = target.component(sample_component), target.component(reward_component)

    def score(*, config: Any, shard: Any, **arguments: Any) -> Any:
        drawn = _named(sample(config=config, shard=shard, **arguments), "sample", shard)
        return _named(reward(config=config, rollouts=drawn.outputs["rollouts"]), "reward", shard)

    return score


def _named(task: Any, name: str, shard: Any) -> Any:
    return task.set_display_name(f"{name}, shard {shard}" if isinstance(shard, str) else name)
