"""The doctor's measures of one epoch, each in a unit in which its size can be judged whatever the model and the reward.

Legend of axes as in `records`: B images, T denoising steps.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor


def reference_pull(
    log_probs: Tensor, log_probs_ref: Tensor, rewards: Tensor, prompt_index: Tensor, *, weight: float
) -> float | None:
    """How strongly the reference pulls against the reward, among images of one prompt.

        pull = beta std(s) / std(r),    s_i = mean_t(l_it - lr_it)

    A loss that weighs the reference against the reward is at rest where beta s = r up to a constant of the prompt
    (PRDP: D_ij = 0). The standard deviations are those within prompts (root of the mean variance). Far below 1 the
    reward leads; above 1 the loss mostly pulls the policy back to the reference.

    Args:
        log_probs: [B, T] nats per latent element, under the policy.
        log_probs_ref: [B, T] under the reference.
        rewards: [B].
        prompt_index: [B] int64, equal for images of one prompt.
        weight: beta, in reward units per nat per latent element (mean over T); see `Objective.reference_weight`.

    Returns:
        None where rewards do not differ within any prompt.
    """
    s = (log_probs.double() - log_probs_ref.double()).mean(dim=1)
    spread = _std_within(rewards.double(), prompt_index)
    return None if spread == 0 else weight * _std_within(s, prompt_index) / spread


def _std_within(values: Tensor, groups: Tensor) -> float:
    """Root of the mean squared distance [B] of each value to the mean of its group."""
    _, index, counts = torch.unique(groups, return_inverse=True, return_counts=True)
    means = torch.zeros(len(counts), dtype=values.dtype).index_add(0, index, values) / counts
    return float((values - means[index]).square().mean().sqrt())


def log_prob_move(log_probs: Tensor, log_probs_old: Tensor, *, clip_range: float) -> float:
    """Mean of |l_it - l0_it| / eps over the cells that were evaluated: above 1 the typical cell is clipped.

    Args:
        log_probs: [B, T] under the policy in training; NaN for cells that were not evaluated.
        log_probs_old: [B, T] under the policy that sampled.
        clip_range: eps, nats per latent element.
    """
    return float((log_probs.double() - log_probs_old.double()).abs().nanmean()) / clip_range


@dataclass(frozen=True, slots=True)
class GradientPart:
    """The gradient of a part of an update's cells."""

    num_cells: int
    squared_norm: float
    """Of the sum over these cells, in the units of the whole gradient."""


def noise_share(parts: Sequence[GradientPart], squared_norm: float) -> float | None:
    """Share of the squared norm of a gradient that is noise: tr(Sigma) / |g|^2, Sigma the covariance of g.

    Each of n parts with a share f of the cells has a gradient h of mean f G and variance f tr(Sigma), if cells are
    independent and identically distributed. So

        tr(Sigma) ~ ( sum |h|^2 / f - |g|^2 ) / (n - 1),    for two halves |h_1 - h_2|^2

    is an unbiased estimate; for two halves it is that of McCandlish et al. 2018 (arXiv:1812.06162), appendix A.1, with
    B_small = B / 2 and B_big = B. The signal's |G|^2 is |g|^2 - tr(Sigma). Cells are taken at random from all images
    and steps. Those of one image are nearly uncorrelated at an epoch's first update: a score grad l_it has mean 0
    given x_t, so products of two steps' scores have mean 0 too, up to their dependence on the reward.

    Args:
        parts: all cells of the update, in at least one part.
        squared_norm: |g|^2 of the whole.

    Returns:
        About 0 (all signal) to 1 (all noise), as an estimate sometimes outside; None for one part or no gradient.
    """
    if len(parts) < 2 or squared_norm == 0:
        return None
    total = sum(part.num_cells for part in parts)
    scaled = sum(part.squared_norm * total / part.num_cells for part in parts)
    return (scaled - squared_norm) / (len(parts) - 1) / squared_norm


@dataclass(frozen=True, slots=True)
class Moments:
    """AdamW's state of one weight."""

    first: Tensor
    """Running mean of the gradient, before the correction of its bias."""

    second: Tensor
    """Running mean of its square."""

    num_steps: int


@dataclass(frozen=True, slots=True)
class AdamStep:
    """The newest step of AdamW, over the elements that had a gradient so far."""

    size: float
    """Root mean square of the change, weight decay left out, in units of the learning rate. The first step has 1; with
    gradients that agree it stays near 1, and with pure noise it falls to sqrt((1 - beta1) / (1 + beta1)), 0.23."""

    epsilon_share: float
    """Share of elements with epsilon > 0.1 sqrt(v): there it shortens the step by more than a tenth."""


def adam_step(state: Iterable[Moments], *, betas: tuple[float, float], epsilon: float) -> AdamStep | None:
    """AdamW's newest step from its state after it.

        step / lr = m / (sqrt(v) + epsilon),    m, v: the moments with their bias corrected

    Source: Kingma and Ba 2014 (arXiv:1412.6980), algorithm 1; decoupled decay: arXiv:1711.05101.

    Args:
        state: of every trained weight that had a step.
        betas: decay rates of the moments.
        epsilon: added to the root of the second moment.

    Returns:
        None where no element had a gradient.
    """
    squares, shortened, count = 0.0, 0, 0
    for moments in state:
        root = (moments.second.float() / (1 - betas[1] ** moments.num_steps)).sqrt()
        trained = root > 0
        change = moments.first.float() / (1 - betas[0] ** moments.num_steps) / (root + epsilon)
        squares += float(change[trained].square().sum(dtype=torch.float64))
        shortened += int((epsilon > 0.1 * root[trained]).sum())
        count += int(trained.sum())
    return AdamStep((squares / count) ** 0.5, shortened / count) if count else None
