"""Draw a shard of an epoch's images and score them in one task, where both roles have the same pool."""

from __future__ import annotations

from functools import cache

from reward_finetuning.config import parse_config
from reward_finetuning.rewards.scorer import Scorer, load_scorers
from reward_finetuning.steps.early_scores import EarlyScores, early_names
from reward_finetuning.steps.plan import epoch_number
from reward_finetuning.steps.program import Config, Epoch, Offset, RewardsFile, run_step, step
from reward_finetuning.steps.program import Shard as ShardNumber
from reward_finetuning.steps.reward import score_rollouts
from reward_finetuning.steps.sample import drawn_for
from reward_finetuning.storage import RunDirectory, write_reference


@step
def draw(config: Config, epoch: Epoch, shard: ShardNumber, rewards: RewardsFile, offset: Offset = 0) -> None:
    """What `sample` and then `reward` do; the policy has left the GPU when the scorers come.

    Scorers on other machines work while images are drawn. The rewards name their rollouts, so no reference to these is
    written.
    """
    run = RunDirectory(parse_config(config))
    run.check()
    reward, early = run.config.reward, early_names(run.config)
    served = cache(lambda: load_scorers(reward, early))

    def all_scorers() -> dict[str, Scorer]:
        loaded = served() | load_scorers(reward, reward.weights.keys() - early)
        return {name: loaded[name] for name in reward.weights}  # weighted scores are added in this order everywhere

    with EarlyScores(run, served) as scores:
        drawn = drawn_for(run, epoch_number(epoch, offset), shard, scores)
    scored = drawn
    if not drawn.skip:
        scored = score_rollouts(run, drawn, all_scorers, scores.usage_before)
    write_reference(rewards, scored)


if __name__ == "__main__":
    run_step(draw)
