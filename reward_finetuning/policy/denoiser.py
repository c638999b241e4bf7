"""A UNet with classifier-free guidance as a callable denoiser."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor

from reward_finetuning.diffusion.ddim import epsilon_of_v
from reward_finetuning.policy.noise_schedule import NoiseSchedule
from reward_finetuning.records import Conditioning


class NoisePrediction:
    """One evaluation of a UNet as predicted noise, whatever the UNet predicts and whatever else it wants to know."""

    def __init__(
        self, unet: Any, schedule: NoiseSchedule, *, time_ids: Tensor | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        """Wrap `unet`.

        Args:
            unet: a UNet2DConditionModel.
            schedule: that it was trained with.
            time_ids: [1, 6] sizes and crop that SDXL is conditioned on, in pixels.
            dtype: of the arithmetic inside; what comes out has the type of x.
        """
        self._unet = unet
        self._is_v = schedule.prediction == "v_prediction"
        self._alpha_bars = torch.from_numpy(schedule.alpha_bars)
        self._time_ids = time_ids
        self._dtype = dtype

    def __call__(self, x: Tensor, t: Tensor, prompts: Conditioning) -> Tensor:
        """Predicted noise [M, C, H, W] of x [M, C, H, W] at t [M] under M prompts."""
        extra = {}
        if prompts.pooled is not None:
            assert self._time_ids is not None
            time_ids = self._time_ids.expand(len(x), -1)
            extra["added_cond_kwargs"] = {"text_embeds": prompts.pooled, "time_ids": time_ids}
        lower = self._dtype in {torch.bfloat16, torch.float16}
        with torch.autocast(x.device.type, self._dtype) if lower else nullcontext():
            predicted = self._unet(x, t, encoder_hidden_states=prompts.embeddings, return_dict=False, **extra)[0]
        predicted = predicted.to(x.dtype)
        if not self._is_v:
            return predicted
        return epsilon_of_v(predicted, x, self._alpha_bars[t.cpu()].to(x))


class GuidedDenoiser:
    """epsilon = eps(x, t, "") + w (eps(x, t, c) - eps(x, t, "")), both branches in one forward pass.

    Guidance of a v-prediction is the same, for noise is linear in v.

    Source: Ho and Salimans 2022 (arXiv:2207.12598), eq. 6, in the weight convention of Stable Diffusion.
    """

    def __init__(
        self,
        epsilon: NoisePrediction,
        unconditional: Conditioning,
        *,
        guidance_scale: float,
        uncond_gradient: bool = True,
        within: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Wrap a network.

        Args:
            epsilon: the network.
            unconditional: what stands for no prompt, one row.
            guidance_scale: w; 1 evaluates the conditional branch alone.
            uncond_gradient: whether the unconditional branch carries gradient.
            within: a context every evaluation runs in (e.g. adapters switched off).
        """
        self._epsilon = epsilon
        self._unconditional = unconditional
        self._scale = guidance_scale
        self._uncond_gradient = uncond_gradient
        self._within = within

    def __call__(self, x: Tensor, t: Tensor, prompts: Conditioning) -> Tensor:
        """Predicted noise [M, C, H, W] of x [M, C, H, W] at t [M] under M prompts."""
        with self._within():
            if self._scale == 1.0:
                return self._epsilon(x, t, prompts)
            unconditional = self._unconditional[torch.zeros(len(x), dtype=torch.int64)]
            if self._uncond_gradient or not torch.is_grad_enabled():
                both = self._epsilon(torch.cat([x, x]), torch.cat([t, t]), joined([unconditional, prompts]))
                uncond, cond = both.chunk(2)
            else:
                with torch.no_grad():
                    uncond = self._epsilon(x, t, unconditional)
                cond = self._epsilon(x, t, prompts)
            return uncond + self._scale * (cond - uncond)


def joined(parts: list[Conditioning]) -> Conditioning:
    """The parts' prompts as one."""
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return Conditioning(torch.cat([part.embeddings for part in parts]), torch.cat(pooled) if pooled else None)
