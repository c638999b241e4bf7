"""The Gaussian of one denoising step."""

from __future__ import annotations

import math

from torch import Tensor

_HALF_LOG_2PI = 0.5 * math.log(2.0 * math.pi)


def log_prob(x: Tensor, mean: Tensor, std: Tensor) -> Tensor:
    """Log density of N(mean, std^2 I) at `x`, averaged over the latent elements.

    The mean over C, H, W (not the sum) is what makes the papers' clip ranges of 1e-6 to 1e-4 meaningful.

    Args:
        x: [M, C, H, W] the point, x_{t-1}.
        mean: [M, C, H, W] mu_theta(x_t, t, c).
        std: [M] sigma_t > 0.

    Returns:
        [M] nats per latent element.

    Source: Ho et al. 2020 (arXiv:2006.11239), eq. 1; the mean as in DDPO's code (arXiv:2305.13301).
    """
    std = std[:, None, None, None]
    z = (x - mean) / std
    return (-0.5 * z**2 - std.log() - _HALF_LOG_2PI).mean(dim=(1, 2, 3))


def step_kl(mean: Tensor, mean_ref: Tensor, std: Tensor) -> Tensor:
    """KL(N(mean, std^2 I) || N(mean_ref, std^2 I)) of each step.

    Args:
        mean: [M, C, H, W] mu_theta.
        mean_ref: [M, C, H, W] mu_ref.
        std: [M] sigma_t > 0, which both share.

    Returns:
        [M] nats per latent element (mean over C, H, W).

    Source: Fan et al. 2023 (arXiv:2305.16381), section 4.2.
    """
    return (mean - mean_ref).square().mean(dim=(1, 2, 3)) / (2 * std**2)
