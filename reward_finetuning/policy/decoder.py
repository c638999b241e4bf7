"""Latents to pictures, by the pipeline's VAE."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward_finetuning.policy.finite import check_outputs
from reward_finetuning.policy.offload import Placement

_SLICED_ABOVE = 512 * 512
"""Pixels above which pictures are decoded one at a time: at 1024 x 1024 and in float32 one takes gigabytes."""

_CPU_PIXELS = 2**15
"""Pixels that a CPU decodes at once, whole pictures: what lies between two layers then stays in its caches. 64 pictures
of 32 x 32 take 50 ms of one core together, and 43 ms in two halves."""


class Decoder:
    """A frozen VAE."""

    def __init__(self, vae: Any, placement: Placement, dtype: torch.dtype) -> None:
        """Take over `vae`; in float32 where its config says that it overflows in float16 (SDXL's)."""
        overflows = dtype == torch.float16 and vae.config.force_upcast
        self._dtype = torch.float32 if overflows else dtype
        self._vae = vae.to(placement.home).eval().requires_grad_(requires_grad=False)
        if self._dtype != vae.dtype:
            self._vae.to(self._dtype)
        self._placement = placement

    @property
    def factor(self) -> int:
        """Pixels a latent cell, along a side."""
        return int(2 ** (len(self._vae.config.block_out_channels) - 1))

    @torch.no_grad()
    def decode(self, latents: Tensor) -> NDArray[np.uint8]:
        """Pictures of the latents x_0 [M, C, H, W]: [M, height, width, 3].

        Raises:
            TrainingError: a picture is not finite.
        """
        if latents.shape[-1] * latents.shape[-2] * self.factor**2 > _SLICED_ABOVE:
            self._vae.enable_slicing()
        scaled = latents.to(self._placement.device).float() / self._vae.config.scaling_factor
        if (shift := self._vae.config.shift_factor) is not None:
            scaled = scaled + shift
        with self._placement.at_work([self._vae]):
            parts = self._centred(scaled).to(self._dtype).split(self._at_once(scaled))
            pixels = torch.cat([self._vae.decode(part, return_dict=False)[0].float() for part in parts])
        check_outputs("decoded images", [pixels], "vae", self._vae, self._dtype)
        # On the device, so that a quarter of the bytes is copied.
        pixels = ((pixels / 2 + 0.5).clamp(0, 1) * 255).round().to(torch.uint8)
        pictures: NDArray[np.uint8] = pixels.permute(0, 2, 3, 1).contiguous().cpu().numpy()
        return pictures

    def _at_once(self, latents: Tensor) -> int:
        """Number of pictures."""
        if latents.device.type != "cpu":
            return len(latents)
        return max(1, _CPU_PIXELS // (latents.shape[-1] * latents.shape[-2] * self.factor**2))

    def _centred(self, scaled: Tensor) -> Tensor:
        """Some finetunes of SDXL have a mean and a spread for each channel."""
        mean, std = self._vae.config.latents_mean, self._vae.config.latents_std
        if mean is None or std is None:
            return scaled
        return scaled * scaled.new_tensor(std)[:, None, None] + scaled.new_tensor(mean)[:, None, None]
