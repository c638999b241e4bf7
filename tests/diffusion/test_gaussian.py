import math

import torch
from torch.distributions import Normal

from reward_finetuning.diffusion import gaussian


def test_log_prob_agrees_with_torch_distributions():
    g = torch.Generator().manual_seed(0)
    x, mean = torch.randn(2, 3, 4, 5, 6, generator=g, dtype=torch.float64)
    std = torch.tensor([0.02, 0.5, 1.3], dtype=torch.float64)

    expected = Normal(mean, std[:, None, None, None]).log_prob(x).mean(dim=(1, 2, 3))

    torch.testing.assert_close(gaussian.log_prob(x, mean, std), expected, rtol=1e-12, atol=1e-12)


def test_one_element_by_hand():
    # (x - mu) / sigma = 2: -2 - log(0.5) - log(2 pi) / 2
    value = gaussian.log_prob(torch.full((1, 1, 1, 1), 1.0), torch.zeros(1, 1, 1, 1), torch.tensor([0.5]))

    assert math.isclose(float(value), -2 - math.log(0.5) - 0.5 * math.log(2 * math.pi), rel_tol=1e-6)


def test_the_size_of_the_latent_does_not_matter():
    small = gaussian.log_prob(torch.ones(1, 1, 2, 2), torch.zeros(1, 1, 2, 2), torch.ones(1))
    large = gaussian.log_prob(torch.ones(1, 4, 8, 8), torch.zeros(1, 4, 8, 8), torch.ones(1))

    torch.testing.assert_close(small, large)
