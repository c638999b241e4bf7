"""Transitions of coefficients-preserving sampling of a flow model."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.diffusion.flow import Transitions


def flow_cps(levels: NDArray[np.float64], *, eta: float) -> Transitions:
    """p, q and std of steps that keep the noise level of the marginals exactly, whatever their number.

        x_0 = x - s v,  e = x + (1 - s) v,  x' = (1 - s') x_0 + s' (cos(eta pi / 2) e + sin(eta pi / 2) w)

    The last std is 0, for it ends at s' = 0. A network predicts the mean of x_0, so an image has less variance than the
    data, and the more noise is replaced, the less: for Gaussian data of variance 0.25 and T = 10 it is 0.186 without
    noise, 0.137 with eta = 0.7, and 0.230 with the SDE of eta = 0.7.

    Args:
        levels: [T + 1] from 1 to 0.
        eta: share of new noise in [0, 1]; 0 is the deterministic sampler, 1 replaces all noise.

    Returns:
        [T] each.

    Source: Wang and Yu 2025, Coefficients-Preserving Sampling (arXiv:2509.05952).
    """
    s, s_next = levels[:-1], levels[1:]
    c = s_next * math.cos(eta * math.pi / 2)
    return 1 - s_next + c, c * (1 - s) - (1 - s_next) * s, s_next * math.sin(eta * math.pi / 2)
