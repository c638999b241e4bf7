"""The head that ImageReward and LAION's aesthetic predictor share: five linear layers, in inference one affine map."""

from __future__ import annotations

from torch import nn


def linear_head(width: int) -> nn.Module:
    """Maps [B, width] to [B, 1]; its weights are named 0, 2, 4, 6, 7, for dropout stood between the first ones."""
    gap = nn.Identity
    return nn.Sequential(
        nn.Linear(width, 1024),
        gap(),
        nn.Linear(1024, 128),
        gap(),
        nn.Linear(128, 64),
        gap(),
        nn.Linear(64, 16),
        nn.Linear(16, 1),
    )
