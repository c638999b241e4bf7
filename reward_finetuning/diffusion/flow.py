"""Noise levels of flow models, as diffusers' FlowMatchEulerDiscreteScheduler places them; numpy alone."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.diffusion.grid import Grid

Transitions = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]
"""p, q and std, [T] each."""

NUM_TRAIN_TIMESTEPS = 1000
"""The time input of a flow network is this times s."""


def flow_levels(
    num_steps: int, *, shift: float = 1.0, mu: float | None = None, smallest: float | None = None
) -> NDArray[np.float64]:
    """s_0 = 1 > s_1 > ... > s_T = 0, [T + 1].

    T levels are even between 1 and `smallest`, then shifted towards noise:

        s <- shift s / (1 + (shift - 1) s),    with shift = exp(mu) if mu is given

    Args:
        num_steps: T.
        shift: 1 leaves the levels even.
        mu: of resolution-dependent shifting; replaces `shift`.
        smallest: the last level before 0, unshifted; None: 1 / T.

    Source: Esser et al. 2024 (arXiv:2403.03206), section 5.3.2.
    """
    levels = np.linspace(1.0, 1 / num_steps if smallest is None else smallest, num_steps)
    return np.append(shifted(levels, math.exp(mu) if mu is not None else shift), 0.0)


def shifted(levels: NDArray[np.float64], shift: float) -> NDArray[np.float64]:
    """shift s / (1 + (shift - 1) s)."""
    return shift * levels / (1 + (shift - 1) * levels)


def resolution_mu(num_tokens: int, *, base_tokens: int, max_tokens: int, base_mu: float, max_mu: float) -> float:
    """mu of an image of `num_tokens` patches, on the line through (base_tokens, base_mu) and (max_tokens, max_mu).

    Source: `calculate_shift` in the pipelines of diffusers.
    """
    slope = (max_mu - base_mu) / (max_tokens - base_tokens)
    return base_mu + slope * (num_tokens - base_tokens)


def euler(levels: NDArray[np.float64]) -> Transitions:
    """Of Euler's method for dx/ds = v, which is deterministic: x + (s' - s) v."""
    dt = np.diff(levels)
    return np.ones_like(dt), dt, np.zeros_like(dt)


def flow_grid(
    levels: NDArray[np.float64],
    transitions: Transitions,
    *,
    min_std: float = 0.0,
    window: tuple[int, int] | None = None,
) -> Grid:
    """The grid of a flow model: Gaussian steps, and Euler's before and after them.

    Steps near the image are so narrow that rounding in the network moves their log-probs by more than a clip range. So
    the Gaussian steps end before the first std below `min_std`; the rest are Euler's.

    Args:
        levels: [T + 1] from 1 to 0.
        transitions: of the sampler.
        min_std: smallest standard deviation of a Gaussian step.
        window: Gaussian steps [first, last), 0 is the noisiest; all that are wide enough when not given.

    Raises:
        ValueError: no step is Gaussian.
    """
    num_steps = len(levels) - 1
    first, last = window or (0, num_steps)
    index = np.arange(num_steps)
    narrow = (transitions[2] < min_std) | (transitions[2] <= 0)
    end = int(narrow[first:].argmax()) + first if narrow[first:].any() else num_steps
    gaussian = (index >= first) & (index < min(last, end))
    if not gaussian.any():
        raise ValueError(
            f"no step is stochastic: of the {num_steps} steps, [{first}, {last}) may be, and the standard deviation of "
            f"step {first} is {transitions[2][min(first, num_steps - 1)]:.3g}, the floor is {min_std:g}"
        )
    p, q, stds = (np.where(gaussian, a, b) for a, b in zip(transitions, euler(levels), strict=True))
    return Grid("flow", NUM_TRAIN_TIMESTEPS * levels[:-1], levels[:-1], levels[1:], p, q, stds)


def euler_grid(levels: NDArray[np.float64]) -> Grid:
    """The deterministic sampler: no step has a log-probability."""
    return Grid("flow", NUM_TRAIN_TIMESTEPS * levels[:-1], levels[:-1], levels[1:], *euler(levels))
