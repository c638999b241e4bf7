"""Transitions of DDIM, which with eta = 1 is DDPM's ancestral sampler on a strided grid."""

from __future__ import annotations

import math
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.diffusion.grid import Grid

Spacing = Literal["leading", "trailing", "linspace", "quadratic"]


def ddim_grid(
    alpha_bars: NDArray[np.float64],
    num_steps: int,
    *,
    prediction: Literal["epsilon", "v_prediction"] = "epsilon",
    eta: float = 1.0,
    steps_offset: int = 1,
    final_alpha_bar: float | None = None,
    spacing: Spacing = "leading",
    min_std: float = 1e-3,
) -> Grid:
    """The strided grid of `num_steps` among the training steps.

        x_0 = (x_t - sqrt(1 - a_t) eps) / sqrt(a_t)
        mu  = sqrt(a_{t-1}) x_0 + sqrt(1 - a_{t-1} - sigma_t^2) eps = p x_t + q eps

    With v-prediction eps = sqrt(a_t) v + sqrt(1 - a_t) x_t, so q is scaled and a part of it moves to p.

    The defaults are Stable Diffusion's own convention (offset 1, final alpha-bar = alpha_bars[0]), under which the
    last step keeps a real variance.

    Args:
        alpha_bars: [num_train_timesteps] alpha-bar of every training step, descending.
        num_steps: T.
        prediction: what the network predicts.
        eta: 1 is DDPM's ancestral sampler on the grid.
        steps_offset: first timestep of the grid under `leading`.
        final_alpha_bar: alpha-bar that the last step goes to; alpha_bars[0] when not given.
        spacing: diffusers' `timestep_spacing`, or `quadratic`: fine steps near the image, where an even stride makes
            one step so narrow that its log-probability drowns all others' in the gradient.
        min_std: smallest sigma_t allowed.

    Raises:
        ValueError: more steps than the spacing has room for, a step from where there is no signal (alpha-bar 0), or a
            sigma_t below `min_std`.

    Source: Song et al. 2021 (arXiv:2010.02502), eq. 12 and 16; quadratic: appendix D.2; v: Salimans and Ho 2022
    (arXiv:2202.00512), appendix D.
    """
    timesteps = _timesteps(len(alpha_bars), num_steps, steps_offset, spacing)
    previous = np.append(timesteps[1:], -1) if spacing == "quadratic" else timesteps - len(alpha_bars) // num_steps
    last = float(alpha_bars[0]) if final_alpha_bar is None else final_alpha_bar
    a = alpha_bars[timesteps].astype(np.float64)
    a_prev = np.where(previous >= 0, alpha_bars[np.maximum(previous, 0)], last).astype(np.float64)
    if a.min() <= 0:
        raise ValueError(
            f"timestep {timesteps[a.argmin()]} has zero signal-to-noise ratio (alpha-bar 0): noise says nothing of x_0 "
            "there, and the step has no mean. With scheduler: own (leading) the grid does not visit it"
        )
    stds = eta * np.sqrt(np.maximum((1 - a_prev) / (1 - a) * (1 - a / a_prev), 0.0))
    if stds.min() < min_std:
        keeps_variance = steps_offset > 0 and final_alpha_bar is None
        raise ValueError(_narrow_step(stds, timesteps, min_std, eta, keeps_variance=keeps_variance))
    p = np.sqrt(a_prev / a)
    q = np.sqrt(np.maximum(1 - a_prev - stds**2, 0.0)) - np.sqrt((1 - a) * a_prev / a)
    if prediction == "v_prediction":
        p, q = p + q * np.sqrt(1 - a), q * np.sqrt(a)
    return Grid(prediction, timesteps.astype(np.float64), a, a_prev, p, q, stds)


def _narrow_step(
    stds: NDArray[np.float64], timesteps: NDArray[np.int64], min_std: float, eta: float, *, keeps_variance: bool
) -> str:
    """Which step is narrower than the floor, and what to do."""
    step = int(stds.argmin())
    remedy = "With scheduler: own (offset 1, final alpha-bar_0) every step keeps a variance"
    if keeps_variance:
        remedy = f"Use fewer steps, a larger ddim_eta (it is {eta:g}), or a lower floor"
    return (
        f"sigma of step {step + 1} of {len(stds)} (timestep {timesteps[step]}) is {stds[step]:.3g}, below the "
        f"floor sampling.min_std={min_std:g}: such a step has no usable log-probability. {remedy}"
    )


def alphas_cumprod(
    beta_start: float, beta_end: float, num_train_timesteps: int, schedule: str, *, zero_terminal_snr: bool = False
) -> NDArray[np.float64]:
    """alpha-bar of every training step, [num_train_timesteps], of the schedules that Stable Diffusion models use.

    Args:
        beta_start: of the first training step.
        beta_end: of the last.
        num_train_timesteps: training steps.
        schedule: how beta goes from one to the other.
        zero_terminal_snr: shift and scale sqrt(alpha-bar) so that the last one is 0 (Lin et al. 2023,
            arXiv:2305.08891, algorithm 1).

    Raises:
        ValueError: a schedule that is neither `linear` nor `scaled_linear`.
    """
    if schedule == "linear":
        betas = np.linspace(beta_start, beta_end, num_train_timesteps)
    elif schedule == "scaled_linear":
        betas = np.linspace(beta_start**0.5, beta_end**0.5, num_train_timesteps) ** 2
    else:
        raise ValueError(f"beta_schedule must be linear or scaled_linear, got {schedule!r}")
    alpha_bars = np.cumprod(1.0 - betas).astype(np.float64)
    if zero_terminal_snr:
        roots = np.sqrt(alpha_bars)
        return np.square((roots - roots[-1]) * roots[0] / (roots[0] - roots[-1]))
    return alpha_bars


def _timesteps(num_train: int, num_steps: int, offset: int, spacing: str) -> NDArray[np.int64]:
    if num_steps > num_train:
        raise ValueError(f"num_steps must be at most the model's {num_train} training steps, got {num_steps}")
    if offset < 0:  # a negative timestep would be read from the end of the schedule
        raise ValueError(f"steps_offset must be at least 0, got {offset}")
    room = num_train - offset
    if spacing == "quadratic" and num_steps > room:
        raise ValueError(
            f"quadratic spacing begins at timestep {offset} and has room for {room} steps, got {num_steps}"
        )
    grid: NDArray[np.float64 | np.int64]
    if spacing == "leading":
        grid = np.arange(num_steps)[::-1] * (num_train // num_steps) + offset
    elif spacing == "quadratic":
        squares = np.floor(np.linspace(0, math.sqrt(0.9 * num_train), num_steps) ** 2)
        index = np.arange(num_steps)  # with many steps the first squares share an integer: each is at least one apart
        grid = (np.maximum.accumulate(squares - index) + index)[::-1] + offset
    elif spacing == "trailing":
        grid = np.round(np.arange(num_train, 0, -num_train / num_steps)) - 1
    else:
        grid = np.linspace(0, num_train - 1, num_steps).round()[::-1]
    return np.minimum(grid, num_train - 1).astype(np.int64)
