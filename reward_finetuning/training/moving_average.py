"""An exponential moving average of trained weights (EMA)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class MovingAverage:
    """average <- decay * average + (1 - decay) * weight, after every update; float32, on the weights' device."""

    def __init__(self, trained: Mapping[str, nn.Parameter], decay: float) -> None:
        """Begin at the weights as they are."""
        self._trained, self._decay = trained, decay
        self.weights: dict[str, Tensor] = {name: weight.detach().clone() for name, weight in trained.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the newest weights."""
        for name, weight in self._trained.items():
            self.weights[name].lerp_(weight, 1 - self._decay)
