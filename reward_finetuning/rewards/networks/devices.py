"""Device and data type of a network."""

from __future__ import annotations

import torch

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import ScorerConfig


def torch_device(settings: ScorerConfig) -> torch.device:
    """The configured device; `auto` selects a GPU if one is available.

    Raises:
        UserError: a GPU is configured and none is available.
    """
    if settings.device == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda is configured, but torch finds no GPU; use auto or cpu")
    on_gpu = settings.device != "cpu" and torch.cuda.is_available()
    if on_gpu and settings.dtype == "float32":
        # TF32 has 10 bits of mantissa and would change scores by 1e-3, as much as images of one prompt differ.
        torch.backends.cuda.matmul.allow_tf32 = False
        torch.backends.cudnn.allow_tf32 = False
    return torch.device("cuda" if on_gpu else "cpu")


def torch_dtype(settings: ScorerConfig) -> torch.dtype:
    """The configured data type of weights and activations."""
    return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[settings.dtype]
