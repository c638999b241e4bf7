"""Transitions of the SDE that has the marginals of a flow model."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.diffusion.flow import Transitions


def flow_sde(levels: NDArray[np.float64], *, eta: float) -> Transitions:
    """p, q and std of Euler-Maruyama steps between noise levels.

        dx = (v + g^2 / (2 s) (x + (1 - s) v)) ds + g dw,    g^2 = eta^2 s / (1 - s)

    At s = 1 the next level stands in 1 - s. In continuous time the marginals are those of the flow; with few steps
    they have more noise, which grows with eta and towards the image.

    Args:
        levels: [T + 1] from 1 to 0.
        eta: amount of noise; 0 is the deterministic sampler.

    Returns:
        [T] each.

    Source: Liu et al. 2025, Flow-GRPO (arXiv:2505.05470), eq. 9.
    """
    s, dt = levels[:-1], np.diff(levels)
    g2 = eta**2 * s / (1 - np.where(s == 1, levels[1:], s))
    return 1 + g2 * dt / (2 * s), (1 + g2 * (1 - s) / (2 * s)) * dt, np.sqrt(-g2 * dt)
