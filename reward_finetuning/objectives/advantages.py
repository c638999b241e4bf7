"""Advantages: rewards in units of their own spread, per prompt where enough of a prompt's rewards are known."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

_STD_FLOOR = 1e-6


class RewardBuffer:
    """The newest rewards of every prompt that was ever seen.

    Three tensors, so that a checkpoint at 100K prompts costs a copy and nothing else.
    """

    def __init__(self, size: int) -> None:
        """Keep the newest `size` rewards of each prompt."""
        self._keys = torch.empty(0, dtype=torch.int64)  # [P] ascending
        self._counts = torch.empty(0, dtype=torch.int64)  # [P]
        self._rewards = torch.empty(0, size, dtype=torch.float64)  # [P, size]: counts[p] of row p, oldest first; then 0

    def append(self, keys: Tensor, rewards: Tensor) -> None:
        """Add rewards [B] of the prompts `keys` [B] in this order; what no longer fits is forgotten, oldest first."""
        prompts = torch.unique(keys)
        self._make_rows(prompts)
        for row, key in zip(self._rows(prompts), prompts, strict=True):
            known = self._rewards[row, : self._counts[row]]
            newest = torch.cat([known, rewards[keys == key].double()])[-self._rewards.shape[1] :]
            self._rewards[row, : len(newest)] = newest
            self._counts[row] = len(newest)

    def of(self, key: Tensor) -> Tensor:
        """Rewards of a prompt that was seen, [count] float64, oldest first."""
        row = self._rows(key)
        return self._rewards[row, : self._counts[row]]

    def state_dict(self) -> dict[str, Tensor]:
        """Keys [P] int64 ascending, counts [P] int64 and rewards [P, size] float64."""
        return {"keys": self._keys.clone(), "counts": self._counts.clone(), "rewards": self._rewards.clone()}

    def load_state_dict(self, state: Mapping[str, Tensor]) -> None:
        """Go on from `state_dict`."""
        assert state["rewards"].shape == (len(state["keys"]), self._rewards.shape[1])
        self._keys, self._counts, self._rewards = (state[name].clone() for name in ("keys", "counts", "rewards"))

    def _rows(self, keys: Tensor) -> Tensor:
        return torch.searchsorted(self._keys, keys)

    def _make_rows(self, prompts: Tensor) -> None:
        new = prompts[~torch.isin(prompts, self._keys)]
        if not len(new):
            return
        self._keys, order = torch.cat([self._keys, new]).sort()
        self._counts = torch.cat([self._counts, self._counts.new_zeros(len(new))])[order]
        empty = self._rewards.new_zeros(len(new), self._rewards.shape[1])
        self._rewards = torch.cat([self._rewards, empty])[order]


def normalised(rewards: Tensor, among: Tensor, *, max_advantage: float) -> Tensor:
    """(r - mean) / std with the statistics of `among`, clamped.

    Args:
        rewards: [M].
        among: [S] rewards that give the mean and the population's standard deviation (1e-6 is added to it).
        max_advantage: bound of the result's size.

    Returns:
        [M] float64, 0 where all of `among` is equal and `rewards` with it.
    """
    among = among.double()
    z = (rewards.double() - among.mean()) / (among.std(correction=0) + _STD_FLOOR)
    return z.clamp(-max_advantage, max_advantage)


def per_prompt(
    keys: Tensor, rewards: Tensor, buffer: RewardBuffer, *, min_count: int, max_advantage: float
) -> tuple[Tensor, float]:
    """Rewards normalised by those of their own prompt, or by the epoch's while a prompt has too few.

    Args:
        keys: [B] the images' prompts, all known to `buffer`.
        rewards: [B] of this epoch.
        buffer: with this epoch's rewards in it.
        min_count: rewards that a prompt must have for its own statistics to count.
        max_advantage: bound of an advantage's size.

    Returns:
        [B] float64, and the share of images that their own prompt's statistics served.

    Source: arXiv:2305.13301, section 4.3 (per-prompt statistics).
    """
    advantages = normalised(rewards, rewards, max_advantage=max_advantage)
    own = torch.zeros(len(keys), dtype=torch.bool)
    for key in torch.unique(keys):
        known = buffer.of(key)
        if len(known) >= min_count:
            rows = keys == key
            advantages[rows] = normalised(rewards[rows], known, max_advantage=max_advantage)
            own |= rows
    return advantages, float(own.double().mean())
