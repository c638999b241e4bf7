"""Draw a shard of an epoch's images and score them in one task, where both roles have the same pool."""

from __future__ import annotations

from reward_finetuning.config import parse_config
from reward_finetuning.rewards.scorer import load_scorers
from reward_finetuning.steps.plan import epoch_number
from reward_finetuning.steps.program import Config, Epoch, Offset, RewardsFile, run_step, step
from reward_finetuning.steps.program import Shard as ShardNumber
from reward_finetuning.steps.reward import score_rollouts
from reward_finetuning.steps.sample import drawn_for
from reward_finetuning.storage import RunDirectory, write_reference


@step
def draw(config: Config, epoch: Epoch, shard: ShardNumber, rewards: RewardsFile, offset: Offset = 0) -> None:
    """What `sample` and then `reward` do; the policy has left the GPU when the scorers come.

    The rewards name their rollouts, so no reference to these is written.
    """
    run = RunDirectory(parse_config(config))
    run.check()
    drawn = drawn_for(run, epoch_number(epoch, offset), shard)
    scored = drawn if drawn.skip else score_rollouts(run, drawn, lambda: load_scorers(run.config.reward))
    write_reference(rewards, scored)


if __name__ == "__main__":
    run_step(draw)
