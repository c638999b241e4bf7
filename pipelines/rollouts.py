"""What every graph begins an epoch with: shards side by side, each sampled and then scored."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from kfp import dsl

from components.reward import reward as reward_component
from components.sample import sample as sample_component
from components.shards import shards as shards_component
from pipelines.target import Target


def rollouts_and_rewards(target: Target) -> Callable[..., dict[str, Any]]:
    """A piece of a graph: (config, plan, offset, policy) -> the arguments `rollouts` and `rewards` of train_epoch."""
    shards = target.component(shards_component, "light")
    sample = target.component(sample_component, "sample")
    reward = target.component(reward_component, "reward")

    def draw_and_score(*, config: Any, plan: Any, offset: Any, policy: Any) -> dict[str, Any]:
        with dsl.ParallelFor(shards(config=config, plan=plan, offset=offset).output) as shard:
            rollouts = sample(config=config, shard=shard, policy=policy).outputs["rollouts"]
            rewards = reward(config=config, rollouts=rollouts).outputs["rewards"]
        return {"rollouts": dsl.Collected(rollouts), "rewards": dsl.Collected(rewards)}

    return draw_and_score
