"""A network with classifier-free guidance as a callable denoiser."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor

from reward_finetuning.policy.networks import Network
from reward_finetuning.records import Conditioning


class GuidedDenoiser:
    """out = f(x, t, "") + w (f(x, t, c) - f(x, t, "")), both branches in one forward pass.

    It is the same for predicted noise, v and velocity, because each is linear in the others at given x and t.

    Source: Ho and Salimans 2022 (arXiv:2207.12598), eq. 6, in the weight convention of Stable Diffusion.
    """

    def __init__(
        self,
        network: Network,
        unconditional: Callable[[], Conditioning],
        *,
        guidance_scale: float,
        uncond_gradient: bool = True,
        within: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        """Wrap a network.

        Args:
            network: without guidance.
            unconditional: gives what stands for no prompt, one row; called only with guidance.
            guidance_scale: w; 1 evaluates the conditional branch alone.
            uncond_gradient: whether the unconditional branch carries gradient.
            within: a context every evaluation runs in (e.g. adapters switched off).
        """
        self._network = network
        self._unconditional = unconditional() if guidance_scale != 1.0 else None
        self._scale = guidance_scale
        self._uncond_gradient = uncond_gradient
        self._within = within

    def __call__(self, x: Tensor, t: Tensor, prompts: Conditioning) -> Tensor:
        """Guided output [M, C, H, W] for x [M, C, H, W] at t [M] under M prompts."""
        with self._within():
            if self._unconditional is None:
                return self._network(x, t, prompts)
            unconditional = self._unconditional[torch.zeros(len(x), dtype=torch.int64)]
            if self._uncond_gradient or not torch.is_grad_enabled():
                both = self._network(x, t, joined([unconditional, prompts]))
                uncond, cond = both.chunk(2)
            else:
                with torch.no_grad():
                    uncond = self._network(x, t, unconditional)
                cond = self._network(x, t, prompts)
            return uncond + self._scale * (cond - uncond)


def joined(parts: list[Conditioning]) -> Conditioning:
    """The parts' prompts as one."""
    pooled = [part.pooled for part in parts if part.pooled is not None]
    return Conditioning(torch.cat([part.embeddings for part in parts]), torch.cat(pooled) if pooled else None)
