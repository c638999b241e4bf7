"""Proximal reward difference prediction (PRDP, arXiv:2402.08714).

The policy is regressed on reward differences: for two images i, j of one prompt with r_i > r_j,

    s_i  = mean_t (l_it - lr_it)                                   log-ratio to the reference
    sc_i = mean_t clip(l_it - lr_it, (l0_it - lr_it) -+ eps)       the same, kept near the policy that sampled
    D_ij = s_i - s_j - (r_i - r_j) / beta,   Dc_ij likewise with sc
    L    = mean over pairs of max(D_ij^2, Dc_ij^2)

with l, l0, lr the log-probs [K, T] under the policy, the policy that sampled, and the reference (supplement,
listing 1). D^2 reaches 1e5 to 1e10 at the paper's beta, where float32 makes clipped and unclipped values tie: all is
decided in float64.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import torch
from torch import Tensor

from reward_finetuning.config.sections.objective import PrdpConfig
from reward_finetuning.objectives.protocol import Objective
from reward_finetuning.records import Batch


def prdp_loss(
    log_probs: Tensor,
    log_probs_old: Tensor,
    log_probs_ref: Tensor,
    rewards: Tensor,
    *,
    clip_range: float,
    kl_weight: float,
    precision: torch.dtype = torch.float64,
) -> Tensor:
    """The loss of one prompt's K images, differentiable in `log_probs`.

    Args:
        log_probs: [K, T] nats per latent element, under the policy in training.
        log_probs_old: [K, T] under the policy that sampled.
        log_probs_ref: [K, T] under the reference.
        rewards: [K].
        clip_range: eps > 0, nats per latent element; infinity switches clipping off.
        kl_weight: beta > 0.
        precision: in what differences are formed and compared.

    Returns:
        Scalar in `precision`; 0 where no pair exists (all rewards equal).

    Source: arXiv:2402.08714, eq. 11 and listing 1 of the supplement.
    """
    ratio, clipped, _ = _ratios(log_probs, log_probs_old, log_probs_ref, clip_range, precision)
    D, Dc, better = _differences(ratio, clipped, rewards, kl_weight)
    if not better.any():
        return ratio.sum() * 0.0
    return torch.maximum(D**2, Dc**2)[better].mean()


def prdp_grad(
    log_probs: Tensor,
    log_probs_old: Tensor,
    log_probs_ref: Tensor,
    rewards: Tensor,
    *,
    clip_range: float,
    kl_weight: float,
    precision: torch.dtype = torch.float64,
) -> Tensor:
    """dL/dlog_probs of `prdp_loss` in closed form, [K, T] in `precision`; arguments as there.

        g_it = (a_i + b_i m_it) / T,     m_it = 1[|l_it - l0_it| <= eps]
        a_i  = 2/n sum_j u_ij D_ij,      u_ij = 1 where D^2 > Dc^2, 1/2 at equality, else 0
        b_i  = 2/n sum_j (1 - u_ij) Dc_ij

    n pairs; j runs over the images whose reward differs from i's, and D_ji = -D_ij.
    """
    ratio, clipped, inside = _ratios(log_probs, log_probs_old, log_probs_ref, clip_range, precision)
    D, Dc, better = _differences(ratio, clipped, rewards, kl_weight)
    n = int(better.sum())
    if n == 0:
        return torch.zeros_like(ratio)
    u = (torch.sign(D**2 - Dc**2) + 1.0) / 2.0
    pairs = (better | better.T).to(precision)
    a = 2.0 / n * (pairs * u * D).sum(dim=1)
    b = 2.0 / n * (pairs * (1.0 - u) * Dc).sum(dim=1)
    return (a[:, None] + b[:, None] * inside) / ratio.shape[1]


def _ratios(
    log_probs: Tensor, old: Tensor, ref: Tensor, clip_range: float, precision: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    log_probs, old, ref = (x.to(precision) for x in (log_probs, old, ref))
    if not log_probs.shape == old.shape == ref.shape:
        raise ValueError(f"log-probs must share one shape [K, T], got {[list(x.shape) for x in (log_probs, old, ref)]}")
    ratio, center = log_probs - ref, old - ref
    low, high = center - clip_range, center + clip_range
    return ratio, ratio.clamp(low, high), (ratio >= low) & (ratio <= high)


def _differences(ratio: Tensor, clipped: Tensor, rewards: Tensor, kl_weight: float) -> tuple[Tensor, Tensor, Tensor]:
    r = rewards.to(ratio.dtype)
    if r.shape != ratio.shape[:1]:
        raise ValueError(f"rewards must be [K={len(ratio)}] to match log_probs, got {list(r.shape)}")
    target = (r[:, None] - r[None, :]) / kl_weight
    s, sc = ratio.mean(dim=1), clipped.mean(dim=1)
    return s[:, None] - s[None, :] - target, sc[:, None] - sc[None, :] - target, target > 0


class Prdp(Objective):
    """PRDP as an Objective: the mean over the prompts that have a pair of `prdp_loss`."""

    separable_by = "prompt"

    def __init__(self, config: PrdpConfig) -> None:
        self._kl_weight = config.kl_weight
        self.clip_range = config.clip_range if config.clipping else float("inf")
        self._precision = {"float64": torch.float64, "float32": torch.float32}[config.precision]

    def gradient_unit(self, num_steps: int, num_elements: int) -> float:
        """beta T C H W: the gradient is then one of rewards times the log-prob of whole trajectories, in nats."""
        return self._kl_weight * num_steps * num_elements

    def reference_weight(self, num_steps: int, num_elements: int) -> float:
        """beta itself: D_ij = 0 is s_i - s_j = (r_i - r_j) / beta."""
        return self._kl_weight

    def coefficients(self, log_probs: Tensor, batch: Batch) -> Tensor:
        """g [B, T] float64; rows of a prompt whose rewards are all equal are 0."""
        return self.prompt_coefficients(log_probs, torch.arange(len(log_probs)), batch)

    def prompt_coefficients(self, log_probs: Tensor, rows: Tensor, batch: Batch) -> Tensor:
        """g [R, T] float64 of all images of some prompts."""
        part, g = batch.of_rows(rows), torch.zeros(log_probs.shape, dtype=torch.float64)
        num_prompts = _num_prompts_with_pairs(batch)
        for members in _groups_with_pairs(part):
            g[members] = self._of_prompt(prdp_grad, members, log_probs, part).double() / num_prompts
        return g

    def metrics(self, log_probs: Tensor, batch: Batch) -> Mapping[str, float]:
        """Loss, share of cells beyond the clip range, and number of prompts without a pair."""
        groups = _groups_with_pairs(batch)
        losses = [float(self._of_prompt(prdp_loss, rows, log_probs, batch)) for rows in groups]
        moved = (log_probs - batch.log_probs_old).abs() > self.clip_range
        return {
            "loss": sum(losses) / len(losses) if losses else 0.0,
            "clip_fraction": float(moved.double().mean()),
            "tied_prompts": float(len(torch.unique(batch.prompt_index)) - len(groups)),
        }

    def _of_prompt(self, function: Callable[..., Tensor], rows: Tensor, log_probs: Tensor, batch: Batch) -> Tensor:
        return function(
            log_probs[rows],
            batch.log_probs_old[rows],
            batch.log_probs_ref[rows],
            batch.rewards[rows],
            clip_range=self.clip_range,
            kl_weight=self._kl_weight,
            precision=self._precision,
        )


def _num_prompts_with_pairs(batch: Batch) -> int:
    """Number of prompts whose rewards are not all equal."""
    _, prompts = torch.unique(batch.prompt_index, return_inverse=True)
    rewards, empty = batch.rewards.double(), torch.zeros(int(prompts.max()) + 1, dtype=torch.float64)
    highest, lowest = (
        empty.scatter_reduce(0, prompts, rewards, reduce=extreme, include_self=False) for extreme in ("amax", "amin")
    )
    return int((highest > lowest).sum())


def _groups_with_pairs(batch: Batch) -> list[Tensor]:
    """Row indices of each prompt whose rewards are not all equal."""
    groups = [(batch.prompt_index == prompt).nonzero()[:, 0] for prompt in torch.unique(batch.prompt_index)]
    return [rows for rows in groups if len(torch.unique(batch.rewards[rows])) > 1]
