"""Pairs of images of one prompt whose rewards differ."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from reward_finetuning.config.errors import TrainingError


@dataclass(frozen=True, slots=True)
class Pairs:
    """M pairs as rows of a Batch; r[winners] > r[losers]."""

    winners: Tensor
    """[M] int64."""

    losers: Tensor
    """[M] int64."""

    @property
    def rows(self) -> Tensor:
        """Every image of a pair, once, ascending [R]."""
        return torch.unique(torch.cat([self.winners, self.losers]))

    def among(self, rows: Tensor) -> Pairs:
        """The pairs whose winners are among `rows` [R] (ascending, with their losers), as places in `rows`."""
        kept = torch.isin(self.winners, rows)
        return Pairs(*(torch.searchsorted(rows, side[kept]) for side in (self.winners, self.losers)))


def draw_pairs(rewards: Tensor, prompt_index: Tensor, rows: Tensor, num: int, rng: np.random.Generator) -> Pairs:
    """`num` pairs, each of a random prompt, and of that prompt any pair as likely as any other; repeats may occur.

    Args:
        rewards: [B].
        prompt_index: [B].
        rows: [R] the images to choose from.
        num: M.
        rng: what draws.

    Raises:
        TrainingError: no prompt has two images of different reward.
    """
    groups = _groups_with_pairs(rewards, prompt_index, rows)
    if not groups:
        raise TrainingError(
            f"no two of the {len(rows)} images of one prompt differ in reward: there is no pair to learn from; "
            "draw more images of each prompt (sampling.images_per_prompt), or look at the reward"
        )
    winners, losers = [], []
    for group in rng.integers(len(groups), size=num):
        members = groups[group]
        first, second = _unequal(rewards, members, rng)
        winners.append(max(first, second, key=lambda row: float(rewards[row])))
        losers.append(min(first, second, key=lambda row: float(rewards[row])))
    return Pairs(torch.tensor(winners), torch.tensor(losers))


def all_pairs(rewards: Tensor, prompt_index: Tensor, rows: Tensor) -> Pairs:
    """Every pair among `rows` [R]; there may be none."""
    winners, losers = [torch.zeros(0, dtype=torch.int64)], [torch.zeros(0, dtype=torch.int64)]
    for members in _groups_with_pairs(rewards, prompt_index, rows):
        better = rewards[members][:, None] > rewards[members][None, :]
        winner, loser = better.nonzero(as_tuple=True)
        winners.append(members[winner])
        losers.append(members[loser])
    return Pairs(torch.cat(winners), torch.cat(losers))


def split_rows(prompt_index: Tensor, heldout_share: float, rng: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Rows to train on and rows held out, both ascending: of each prompt's K images round(share K), at least 2.

    A prompt of fewer than 4 images gives none, for training needs a pair as well.
    """
    heldout: list[int] = []
    for prompt in torch.unique(prompt_index):
        members = (prompt_index == prompt).nonzero()[:, 0].numpy()
        if len(members) >= 4:
            num = min(max(2, round(heldout_share * len(members))), len(members) - 2)
            heldout += rng.permutation(members)[:num].tolist()
    kept_out = torch.zeros(len(prompt_index), dtype=torch.bool)
    kept_out[torch.tensor(heldout, dtype=torch.int64)] = True
    return (~kept_out).nonzero()[:, 0], kept_out.nonzero()[:, 0]


def _groups_with_pairs(rewards: Tensor, prompt_index: Tensor, rows: Tensor) -> list[Tensor]:
    """Each prompt's members of `rows`, where their rewards are not all equal."""
    groups = [rows[prompt_index[rows] == prompt] for prompt in torch.unique(prompt_index[rows])]
    return [members for members in groups if len(torch.unique(rewards[members])) > 1]


def _unequal(rewards: Tensor, members: Tensor, rng: np.random.Generator) -> tuple[int, int]:
    """Two members of different reward; drawn again and again, which ends because such a pair exists."""
    while True:
        first, second = (int(members[i]) for i in rng.integers(len(members), size=2))
        if rewards[first] != rewards[second]:
            return first, second
