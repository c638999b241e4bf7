"""One evaluation of a network as its raw output, whatever else it takes as input."""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from typing import Any, Protocol

import torch
from torch import Tensor

from reward_finetuning.records import Conditioning


class Network(Protocol):
    """A network without classifier-free guidance."""

    def __call__(self, x: Tensor, t: Tensor, prompts: Conditioning) -> Tensor:
        """Raw output [M, C, H, W] for x [M, C, H, W] at t [M] under M prompts, in the type of x."""
        ...


class UNet:
    """A UNet2DConditionModel."""

    def __init__(self, unet: Any, *, time_ids: Tensor | None = None, dtype: torch.dtype = torch.float32) -> None:
        """Wrap `unet`.

        Args:
            unet: the network.
            time_ids: [1, 6] sizes and crop that SDXL is conditioned on, in pixels.
            dtype: of the arithmetic inside; what comes out has the type of x.
        """
        self._unet, self._time_ids, self._dtype = unet, time_ids, dtype

    def __call__(self, x: Tensor, t: Tensor, prompts: Conditioning) -> Tensor:
        """Raw output [M, C, H, W]."""
        extra = {}
        if prompts.pooled is not None:
            assert self._time_ids is not None
            time_ids = self._time_ids.expand(len(x), -1)
            extra["added_cond_kwargs"] = {"text_embeds": prompts.pooled, "time_ids": time_ids}
        with _autocast(x, self._dtype):
            output = self._unet(x, t, encoder_hidden_states=prompts.embeddings, return_dict=False, **extra)[0]
        return output.to(x.dtype)


class Sd3Transformer:
    """An SD3Transformer2DModel: velocity of latents [M, C, H, W]."""

    def __init__(self, transformer: Any, *, dtype: torch.dtype = torch.float32) -> None:
        """Wrap `transformer`; `dtype` is that of the arithmetic inside."""
        self._transformer, self._dtype = transformer, dtype

    def __call__(self, x: Tensor, t: Tensor, prompts: Conditioning) -> Tensor:
        """Raw output [M, C, H, W]."""
        with _autocast(x, self._dtype):
            output = self._transformer(
                hidden_states=x,
                timestep=t.to(x.dtype),
                encoder_hidden_states=prompts.embeddings,
                pooled_projections=prompts.pooled,
                return_dict=False,
            )[0]
        return output.to(x.dtype)


class FluxTransformer:
    """A FluxTransformer2DModel: velocity of latents [M, C, H, W], which it sees as tokens of 2 x 2 cells."""

    def __init__(self, transformer: Any, *, guidance: float | None, dtype: torch.dtype = torch.float32) -> None:
        """Wrap `transformer`.

        Args:
            transformer: the network.
            guidance: its input of that name; None for a network without it (schnell).
            dtype: of the arithmetic inside. The network casts times and guidance to it, as in diffusers.
        """
        self._transformer, self._guidance, self._dtype = transformer, guidance, dtype

    def __call__(self, x: Tensor, t: Tensor, prompts: Conditioning) -> Tensor:
        """Raw output [M, C, H, W]."""
        height, width = x.shape[-2:]
        guidance = None if self._guidance is None else x.new_full((len(x),), self._guidance)
        with _autocast(x, self._dtype):
            tokens = self._transformer(
                hidden_states=packed(x),
                timestep=t.to(x.dtype) / 1000,  # the network multiplies by 1000
                guidance=guidance,
                pooled_projections=prompts.pooled,
                encoder_hidden_states=prompts.embeddings,
                txt_ids=x.new_zeros(prompts.embeddings.shape[1], 3),
                img_ids=positions(height // 2, width // 2, x),
                return_dict=False,
            )[0]
        return unpacked(tokens, height, width).to(x.dtype)


def packed(x: Tensor) -> Tensor:
    """Latents [M, C, H, W] as tokens [M, H W / 4, 4 C] of 2 x 2 cells, row by row."""
    m, c, h, w = x.shape
    return x.reshape(m, c, h // 2, 2, w // 2, 2).permute(0, 2, 4, 1, 3, 5).reshape(m, h * w // 4, 4 * c)


def unpacked(tokens: Tensor, height: int, width: int) -> Tensor:
    """Tokens [M, H W / 4, 4 C] as latents [M, C, H, W]; the inverse of `packed`."""
    m, _, channels = tokens.shape
    cells = tokens.reshape(m, height // 2, width // 2, channels // 4, 2, 2).permute(0, 3, 1, 4, 2, 5)
    return cells.reshape(m, channels // 4, height, width)


def positions(rows: int, columns: int, like: Tensor) -> Tensor:
    """Position ids (0, row, column) of the tokens, [rows columns, 3], in the type and on the device of `like`."""
    row, column = torch.meshgrid(torch.arange(rows), torch.arange(columns), indexing="ij")
    return torch.stack([torch.zeros_like(row), row, column], dim=-1).reshape(-1, 3).to(like)


def _autocast(x: Tensor, dtype: torch.dtype) -> AbstractContextManager[object]:
    return torch.autocast(x.device.type, dtype) if dtype in {torch.bfloat16, torch.float16} else nullcontext()
