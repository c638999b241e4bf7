"""PPO's clipped surrogate on each denoising step, which DDPO and DPOK share.

    w_it = p_theta(x_{t-1} | x_t, c) / p_old(x_{t-1} | x_t, c) = exp(l_it - l0_it)
    L    = mean over B, T of max(-A w, -A clip(w, 1 - eps, 1 + eps))

The maximum stops a cell only where it has moved in the direction that its advantage asks for; a cell that went the
other way is still pulled back. All is float64, as eps is down to 1e-6.

Source: Schulman et al. 2017 (arXiv:1707.06347), eq. 7; per denoising step: arXiv:2305.13301, section 4.3.
"""

from __future__ import annotations

import torch
from torch import Tensor


def clipped_surrogate(log_probs: Tensor, log_probs_old: Tensor, advantages: Tensor, *, clip_range: float) -> Tensor:
    """The surrogate of every cell, differentiable in `log_probs`; the loss is its mean.

    Args:
        log_probs: [B, T] nats per latent element, under the policy in training.
        log_probs_old: [B, T] under the policy that sampled.
        advantages: [B, T], or [B, 1] for one per image.
        clip_range: eps > 0; infinity switches clipping off.

    Returns:
        [B, T] float64.
    """
    w, A = _ratios(log_probs, log_probs_old), advantages.double()
    return torch.maximum(-A * w, -A * w.clamp(1 - clip_range, 1 + clip_range))


def clipped_surrogate_grad(
    log_probs: Tensor, log_probs_old: Tensor, advantages: Tensor, *, clip_range: float
) -> Tensor:
    """d mean(clipped_surrogate) / d log_probs in closed form, [B, T] float64; arguments as there.

    g_it = -A w / (B T), and 0 where A > 0 and w > 1 + eps, or A < 0 and w < 1 - eps.
    """
    return _unscaled_grad(log_probs, log_probs_old, advantages, clip_range) / log_probs.numel()


def clipped_surrogate_grad_of_cells(
    log_probs: Tensor, cells: Tensor, log_probs_old: Tensor, advantages: Tensor, *, clip_range: float
) -> Tensor:
    """`clipped_surrogate_grad` of some cells, from their own log-probs.

    Args:
        log_probs: [M] of the cells.
        cells: [M] flat indices into [B, T].
        log_probs_old: [B, T].
        advantages: [B, T], or [B, 1] for one per image.
        clip_range: eps > 0.

    Returns:
        [M] float64.
    """
    index = cells // log_probs_old.shape[1], cells % log_probs_old.shape[1]
    old, A = log_probs_old[index], advantages.expand(log_probs_old.shape)[index]
    return _unscaled_grad(log_probs, old, A, clip_range) / log_probs_old.numel()


def clip_fraction(log_probs: Tensor, log_probs_old: Tensor, *, clip_range: float) -> float:
    """Share of the cells whose ratio is outside 1 -+ eps, stopped or not."""
    return float(((_ratios(log_probs, log_probs_old) - 1).abs() > clip_range).double().mean())


def _ratios(log_probs: Tensor, log_probs_old: Tensor) -> Tensor:
    return (log_probs.double() - log_probs_old.double()).exp()


def _unscaled_grad(log_probs: Tensor, log_probs_old: Tensor, advantages: Tensor, clip_range: float) -> Tensor:
    w, A = _ratios(log_probs, log_probs_old), advantages.double()
    stopped = torch.where(A > 0, w > 1 + clip_range, w < 1 - clip_range)
    return torch.where(stopped, 0.0, -A * w)
