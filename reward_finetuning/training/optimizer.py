"""AdamW, with its moments in float32 or in 8 bits, and the state of each weight as tensors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from reward_finetuning.config.sections.training import TrainingConfig

_BLOCK = 256
"""Elements of a moment that share a scale in 8-bit optimizers (Dettmers et al. 2021, arXiv:2110.02861)."""


def build_optimizer(weights: Iterable[nn.Parameter], training: TrainingConfig) -> torch.optim.Optimizer:
    """AdamW on the weights, as `training.optimizer` names it."""
    settings: dict[str, Any] = {
        "lr": training.learning_rate,
        "betas": training.betas,
        "eps": training.epsilon,
        "weight_decay": training.weight_decay,
    }
    weights = list(weights)
    if training.optimizer == "adamw":
        # One kernel per step instead of one per operation. On a CPU the bits of existing runs would change.
        on_gpu = all(weight.device.type == "cuda" for weight in weights)
        return torch.optim.AdamW(weights, **settings, fused=on_gpu or None)
    from bitsandbytes.optim import AdamW8bit

    optimizer: torch.optim.Optimizer = AdamW8bit(weights, **settings)
    return optimizer


def tensors_of(state: Mapping[str, Any]) -> dict[str, Tensor]:
    """The state of one weight as tensors that share no memory with another weight's, so that a file can hold them."""
    tensors: dict[str, Tensor] = {}
    for entry, value in state.items():
        if isinstance(value, Mapping):  # bitsandbytes hides its tensors from FSDP in a mapping
            tensors |= tensors_of(value)
        elif not isinstance(value, Tensor):
            tensors[entry] = torch.tensor(value)
        else:  # bitsandbytes' table of 256 values is one tensor of all weights
            tensors[entry] = value.clone() if entry.startswith("qmap") else value
    return tensors


def state_from(tensors: Mapping[str, Tensor]) -> dict[str, Any]:
    """The state of one weight from `tensors_of`; bitsandbytes counts steps in a Python integer, torch in a tensor."""
    return {
        entry: int(value) if entry == "step" and not value.is_floating_point() else value
        for entry, value in tensors.items()
    }


def moments(tensors: Mapping[str, Tensor]) -> tuple[Tensor, Tensor, int]:
    """Running means of one weight's gradient and of its square, both in float32, and the number of steps."""
    if "exp_avg" in tensors:
        first, second = tensors["exp_avg"], tensors["exp_avg_sq"]
    else:
        first, second = _in_float32(tensors, "1"), _in_float32(tensors, "2")
    return first, second, int(tensors["step"])


def _in_float32(tensors: Mapping[str, Tensor], number: str) -> Tensor:
    moment = tensors[f"state{number}"]
    if moment.dtype != torch.uint8:  # of a small weight
        return moment
    from bitsandbytes.functional import dequantize_blockwise

    values, scales = tensors[f"qmap{number}"], tensors[f"absmax{number}"]
    dequantized: Tensor = dequantize_blockwise(moment, absmax=scales, code=values, blocksize=_BLOCK)
    return dequantized
