"""The learning rate of pretraining."""

import math

import torch

_WARMUP = 0.05  # share of the steps


def one_cycle(optimizer: torch.optim.Optimizer, *, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Rises linearly to the optimizer's rate, then falls along a cosine to nothing after `steps` steps.

    The fall averages the weights' noise out, so no moving average of the weights is kept.
    """
    warmup = max(1, round(_WARMUP * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
