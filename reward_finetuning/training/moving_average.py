"""Copies of the trained weights: an exponential moving average (EMA), and a snapshot."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from reward_finetuning.policy.sharding import own_part


class MovingAverage:
    """average <- decay * average + (1 - decay) * weight, after every update.

    The averages are float32, on the weights' device, and sharded as the weights are.
    """

    def __init__(self, trained: Mapping[str, nn.Parameter], decay: float) -> None:
        """Begin at the weights as they are."""
        self._trained, self._decay = trained, decay
        self.weights: dict[str, Tensor] = {name: weight.detach().clone() for name, weight in trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the newest weights."""
        for name, weight in self._trained.items():
            own_part(self.weights[name]).lerp_(own_part(weight), 1 - self._decay)


class Snapshot:
    """The trained weights as they were after so many updates, on the CPU."""

    def __init__(self, trained: Mapping[str, nn.Parameter], num_updates: int) -> None:
        """Copy the weights."""
        self._trained, self.num_updates = trained, num_updates
        self._weights = {name: own_part(weight.detach()).to("cpu", copy=True) for name, weight in trained.items()}

    @torch.no_grad()
    def restore(self) -> None:
        """Copy them back; an optimizer's moments and an average stay as they are."""
        for name, weight in self._trained.items():
            own_part(weight).copy_(self._weights[name])
