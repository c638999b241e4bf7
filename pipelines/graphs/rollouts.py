"""What every graph begins an epoch with: shards side by side, each sampled and then scored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kfp import dsl

from components.draw import draw as draw_component
from components.reward import reward as reward_component
from components.sample import sample as sample_component
from pipelines.targets.target import Target


def scored_shards(target: Target, num_shards: int) -> Callable[..., Any]:
    """A piece of a graph: (config, epoch, offset) -> the rewards of all shards, to be collected.

    One task samples and scores a shard where both roles have the same pool and image; each task costs two pods.
    """
    score = _in_one_task(target) if target.is_one_place("sample", "reward") else _in_two_tasks(target)
    shards = [str(shard) for shard in range(num_shards)]

    def rewards(**arguments: Any) -> Any:
        with dsl.ParallelFor(shards, "shards") as shard:
            scored = score(shard=shard, **arguments)
        return scored

    return rewards


def _in_one_task(target: Target) -> Callable[..., Any]:
    draw = target.component(draw_component)
    return lambda **arguments: draw(**arguments).outputs["rewards"]


def _in_two_tasks(target: Target) -> Callable[..., Any]:
    sample, reward = target.component(sample_component), target.component(reward_component)

    def score(*, config: Any, **arguments: Any) -> Any:
        rollouts = sample(config=config, **arguments).outputs["rollouts"]
        return reward(config=config, rollouts=rollouts).outputs["rewards"]

    return score
