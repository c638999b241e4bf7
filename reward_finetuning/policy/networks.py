"""One evaluation of a network as its raw output, whatever else it takes as input."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor

from reward_finetuning.policy.shared_layers import equal_parts, prompt_free_layers
from reward_finetuning.records import Conditioning


@dataclass(frozen=True, slots=True)
class Precision:
    """Of the products and convolutions of one network; the defaults compute in float32."""

    dtype: torch.dtype = torch.float32
    tf32: bool = False
    """Products of float32 matrices have 10 bits of mantissa, on a GPU."""

    @contextmanager
    def forward(self, x: Tensor) -> Iterator[None]:
        """A context for forward passes of inputs on the device of `x`."""
        with ExitStack() as contexts:
            if self.dtype in {torch.bfloat16, torch.float16}:
                contexts.enter_context(torch.autocast(x.device.type, self.dtype))
            contexts.enter_context(self.backward())
            yield

    def backward(self) -> AbstractContextManager[None]:
        """A context for backward passes, whose types are those of the forward pass."""
        return tensor_float_32(allowed=True) if self.tf32 else nullcontext()


@contextmanager
def tensor_float_32(*, allowed: bool) -> Iterator[None]:
    """Allow or forbid TF32 in matrix products and convolutions, and restore what was allowed before.

    Scorers, text encoders and the VAE compute in float32.
    """
    matmul, cudnn = torch.backends.cuda.matmul, torch.backends.cudnn
    before = (matmul.allow_tf32, cudnn.allow_tf32)
    matmul.allow_tf32 = cudnn.allow_tf32 = allowed
    try:
        yield
    finally:
        matmul.allow_tf32, cudnn.allow_tf32 = before


class Network(Protocol):
    """A network without classifier-free guidance."""

    def __call__(self, x: Tensor, t: Tensor, prompts: Conditioning) -> Tensor:
        """Raw output [N, C, H, W] for x [M, C, H, W] at t [M] under N prompts, in the type of x.

        N is M, or a multiple of it: prompt n belongs to row n mod M of x and t.
        """
        ...


def row_per_prompt(x: Tensor, t: Tensor, prompts: Conditioning) -> tuple[Tensor, Tensor]:
    """A row of x and t for each of the prompts, [N, C, H, W] and [N]."""
    number = len(prompts) // len(x)
    return (x, t) if number == 1 else (torch.cat([x] * number), torch.cat([t] * number))


class UNet:
    """A UNet2DConditionModel."""

    def __init__(self, unet: Any, *, precision: Precision, time_ids: Tensor | None = None) -> None:
        """Wrap `unet`.

        Args:
            unet: the network.
            precision: of the arithmetic inside; what comes out has the type of x.
            time_ids: [1, 6] sizes and crop that SDXL is conditioned on, in pixels.
        """
        self._unet, self._time_ids, self._precision = unet, time_ids, precision
        self._shared = [layer for layer in prompt_free_layers(unet) if hasattr(layer, "equal_parts")]

    def __call__(self, x: Tensor, t: Tensor, prompts: Conditioning) -> Tensor:
        """Raw output [N, C, H, W]."""
        number = len(prompts) // len(x)
        x, t = row_per_prompt(x, t, prompts)
        extra = {}
        if prompts.pooled is not None:
            assert self._time_ids is not None
            time_ids = self._time_ids.expand(len(x), -1)
            extra["added_cond_kwargs"] = {"text_embeds": prompts.pooled, "time_ids": time_ids}
        with self._precision.forward(x), equal_parts(self._shared, number):
            output = self._unet(x, t, encoder_hidden_states=prompts.embeddings, return_dict=False, **extra)[0]
        return output.to(x.dtype)


class Sd3Transformer:
    """An SD3Transformer2DModel: velocity of latents [M, C, H, W]."""

    def __init__(self, transformer: Any, *, precision: Precision) -> None:
        """Wrap `transformer`; `precision` is that of the arithmetic inside."""
        self._transformer, self._precision = transformer, precision

    def __call__(self, x: Tensor, t: Tensor, prompts: Conditioning) -> Tensor:
        """Raw output [N, C, H, W]."""
        x, t = row_per_prompt(x, t, prompts)
        with self._precision.forward(x):
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

    def __init__(self, transformer: Any, *, guidance: float | None, precision: Precision) -> None:
        """Wrap `transformer`.

        Args:
            transformer: the network.
            guidance: its input of that name; None for a network without it (schnell).
            precision: of the arithmetic inside. The network casts times and guidance to it, as in diffusers.
        """
        self._transformer, self._guidance, self._precision = transformer, guidance, precision

    def __call__(self, x: Tensor, t: Tensor, prompts: Conditioning) -> Tensor:
        """Raw output [N, C, H, W]."""
        x, t = row_per_prompt(x, t, prompts)
        height, width = x.shape[-2:]
        guidance = None if self._guidance is None else x.new_full((len(x),), self._guidance)
        with self._precision.forward(x):
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
