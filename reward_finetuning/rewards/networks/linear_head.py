"""The head of ImageReward and of LAION's aesthetic predictor: five linear layers, an affine map in inference."""

from __future__ import annotations

from torch import nn


def linear_head(width: int) -> nn.Module:
    """Maps [B, width] to [B, 1].

    Its weights are named 0, 2, 4, 6, 7, because training had dropout between the first layers.
    """
    dropout = nn.Identity
    return nn.Sequential(
        nn.Linear(width, 1024),
        dropout(),
        nn.Linear(1024, 128),
        dropout(),
        nn.Linear(128, 64),
        dropout(),
        nn.Linear(64, 16),
        nn.Linear(16, 1),
    )
