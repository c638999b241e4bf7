"""What every graph begins an epoch with: shards side by side, each sampled and then scored."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kfp import dsl

from components.reward import reward as reward_component
from components.sample import sample as sample_component
from components.shards import shards as shards_component
from pipelines.targets.target import Target


@dataclass(frozen=True, slots=True)
class Drawn:
    """Outputs of the shards' loop."""

    rollouts: Any
    rewards: Any

    def collected(self) -> dict[str, Any]:
        """The arguments `rollouts` and `rewards` of one train_epoch; kfp takes a Collected for one task only."""
        return {"rollouts": dsl.Collected(self.rollouts), "rewards": dsl.Collected(self.rewards)}


def rollouts_and_rewards(target: Target) -> Callable[..., Drawn]:
    """A piece of a graph: (config, plan, offset, policy) -> what all shards have drawn and scored."""
    shards = target.component(shards_component)
    sample = target.component(sample_component)
    reward = target.component(reward_component)

    def draw_and_score(*, config: Any, plan: Any, offset: Any, policy: Any) -> Drawn:
        with dsl.ParallelFor(shards(config=config, plan=plan, offset=offset).output) as shard:
            rollouts = sample(config=config, shard=shard, policy=policy).outputs["rollouts"]
            rewards = reward(config=config, rollouts=rollouts).outputs["rewards"]
        return Drawn(rollouts, rewards)

    return draw_and_score
