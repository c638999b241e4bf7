"""Learning rate schedule of the pretraining."""

import math

import torch

_WARMUP = 0.05  # share of the steps


def one_cycle(optimizer: torch.optim.Optimizer, *, steps: int) -> torch.optim.lr_scheduler.LambdaLR:
    """Linear warm-up to the learning rate of the optimizer, then cosine decay to zero at `steps` steps.

    The decay averages the noise of the weights, so no moving average of the weights is needed.
    """
    warmup = max(1, round(_WARMUP * steps))

    def factor(step: int) -> float:
        if step < warmup:
            return (step + 1) / warmup
        return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))

    return torch.optim.lr_scheduler.LambdaLR(optimizer, factor)
