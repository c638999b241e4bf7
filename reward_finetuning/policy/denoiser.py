"""A UNet with classifier-free guidance as a callable denoiser."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor


class GuidedDenoiser:
    """epsilon = eps(x, t, "") + w (eps(x, t, c) - eps(x, t, "")), both branches in one forward pass.

    Source: Ho and Salimans 2022 (arXiv:2207.12598), eq. 6, in the weight convention of Stable Diffusion.
    """

    def __init__(
        self,
        unet: Any,
        unconditional: Tensor,
        *,
        guidance_scale: float,
        uncond_gradient: bool = True,
        within: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Wrap `unet`.

        Args:
            unet: a UNet2DConditionModel.
            unconditional: [1, L, D] embedding of the empty prompt.
            guidance_scale: w; 1 evaluates the conditional branch alone.
            uncond_gradient: whether the unconditional branch carries gradient.
            within: a context every evaluation runs in (e.g. adapters switched off).
        """
        self._unet = unet
        self._unconditional = unconditional
        self._scale = guidance_scale
        self._uncond_gradient = uncond_gradient
        self._within = within

    def __call__(self, x: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        """Predicted noise [M, C, H, W] of x [M, C, H, W] at t [M] under embeddings [M, L, D]."""
        with self._within():
            if self._scale == 1.0:
                return self._epsilon(x, t, embeddings)
            unconditional = self._unconditional.expand_as(embeddings)
            if self._uncond_gradient or not torch.is_grad_enabled():
                both = self._epsilon(torch.cat([x, x]), torch.cat([t, t]), torch.cat([unconditional, embeddings]))
                uncond, cond = both.chunk(2)
            else:
                with torch.no_grad():
                    uncond = self._epsilon(x, t, unconditional)
                cond = self._epsilon(x, t, embeddings)
            return uncond + self._scale * (cond - uncond)

    def _epsilon(self, x: Tensor, t: Tensor, embeddings: Tensor) -> Tensor:
        return self._unet(x, t, encoder_hidden_states=embeddings, return_dict=False)[0]
