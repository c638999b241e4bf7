import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal

from reward_finetuning.diffusion.flow import euler, euler_grid, flow_grid, flow_levels, resolution_mu
from reward_finetuning.diffusion.flow_cps import flow_cps
from reward_finetuning.diffusion.flow_sde import flow_sde
from reward_finetuning.diffusion.rollout import draw
from reward_finetuning.diffusion.step import DeviceGrid, denoising_error, noised, step_mean
from reward_finetuning.records import Conditioning

SAMPLERS = {"sde": flow_sde, "cps": flow_cps}
NUM_IMAGES = 20_000
PRIOR_MEAN, PRIOR_STD = 0.7, 0.5


def scheduler(**config):
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(**config)


@pytest.mark.parametrize("num_steps", [1, 4, 10, 28])
@pytest.mark.parametrize("shift", [1.0, 3.0])
def test_even_levels_are_those_of_diffusers(num_steps, shift):
    theirs = scheduler(shift=shift)
    theirs.set_timesteps(sigmas=np.linspace(1, 1 / num_steps, num_steps))

    ours = flow_levels(num_steps, shift=shift)

    np.testing.assert_allclose(ours, theirs.sigmas.numpy(), atol=1e-6)
    np.testing.assert_allclose(euler_grid(ours).timesteps, theirs.timesteps.numpy(), atol=1e-3)


def test_resolution_dependent_levels_are_those_of_diffusers():
    from diffusers.pipelines.flux.pipeline_flux import calculate_shift

    settings = {"base_tokens": 256, "max_tokens": 4096, "base_mu": 0.5, "max_mu": 1.15}
    theirs = scheduler(use_dynamic_shifting=True)
    theirs.set_timesteps(sigmas=np.linspace(1, 0.1, 10), mu=calculate_shift(1024))

    mu = resolution_mu(1024, **settings)

    np.testing.assert_allclose(flow_levels(10, mu=mu), theirs.sigmas.numpy(), atol=1e-6)


def sde_by_hand(x, v, s, s_next, eta, w):
    """One step as in the published code of Flow-GRPO."""
    std_dev_t = math.sqrt(s / (1 - (s_next if s == 1 else s))) * eta
    dt = s_next - s
    mean = x * (1 + std_dev_t**2 / (2 * s) * dt) + v * (1 + std_dev_t**2 * (1 - s) / (2 * s)) * dt
    return mean, std_dev_t * math.sqrt(-dt), mean + std_dev_t * math.sqrt(-dt) * w


def cps_by_hand(x, v, s, s_next, eta, w):
    """One step by the predicted image and noise."""
    std = s_next * math.sin(eta * math.pi / 2)
    image, noise = x - s * v, x + (1 - s) * v
    mean = image * (1 - s_next) + noise * math.sqrt(max(s_next**2 - std**2, 0.0))
    return mean, std, mean + std * w


@pytest.mark.parametrize(("sampler", "by_hand"), [(flow_sde, sde_by_hand), (flow_cps, cps_by_hand)])
@pytest.mark.parametrize("eta", [0.3, 0.7, 1.0])
def test_every_step_equals_an_independent_transcription(sampler, by_hand, eta):
    levels = flow_levels(7, shift=3.0)
    grid = flow_grid(levels, sampler(levels, eta=eta))
    x, v, w = torch.randn(3, 1, 2, 3, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    on_cpu = DeviceGrid.of(grid, x.device, x.dtype)

    for step in range(int(grid.stochastic.sum())):
        steps = torch.tensor([step])
        mean, std, _ = by_hand(x, v, levels[step], levels[step + 1], eta, w)
        torch.testing.assert_close(step_mean(x, v, on_cpu, steps), mean, rtol=1e-12, atol=1e-12)
        assert float(on_cpu.stds[steps]) == pytest.approx(std, rel=1e-12)


@pytest.mark.parametrize("sampler", SAMPLERS.values())
def test_without_noise_a_step_is_eulers(sampler):
    levels = flow_levels(9, shift=2.0)

    p, q, stds = sampler(levels, eta=0.0)

    np.testing.assert_allclose(p, 1, atol=1e-15)
    np.testing.assert_allclose(q, np.diff(levels), atol=1e-15)
    assert (stds == 0).all()


@settings(deadline=None, max_examples=60)
@given(num_steps=st.integers(1, 40), eta=st.floats(0.01, 1.0), shift=st.floats(0.5, 6.0))
def test_cps_keeps_the_noise_level_exactly(num_steps, eta, shift):
    """With the true x_0 and e the next latent is (1 - s') x_0 plus noise of variance s'^2."""
    levels = flow_levels(num_steps, shift=shift)
    p, q, stds = flow_cps(levels, eta=eta)
    s, s_next = levels[:-1], levels[1:]

    of_image = p * (1 - s) - q  # x = (1 - s) x_0 + s e, v = e - x_0
    of_noise = p * s + q

    np.testing.assert_allclose(of_image, 1 - s_next, atol=1e-12)
    np.testing.assert_allclose(of_noise**2 + stds**2, s_next**2, atol=1e-12)


def test_the_sde_raises_the_noise_level_most_near_the_image():
    levels = flow_levels(10, shift=3.0)
    p, q, stds = flow_sde(levels, eta=0.7)
    inflation = ((p * levels[:-1] + q) ** 2 + stds**2)[:-1] / levels[1:-1] ** 2

    assert (inflation > 1).all()
    assert inflation[-1] == inflation.max()


def exact_velocity(x, t, prompts):
    """E[e - x_0 | x_s] for x_0 ~ N(PRIOR_MEAN, PRIOR_STD^2)."""
    s = (t / 1000)[:, None, None, None].to(x)
    variance = (1 - s) ** 2 * PRIOR_STD**2 + s**2
    centred = x - (1 - s) * PRIOR_MEAN
    return (s - (1 - s) * PRIOR_STD**2) / variance * centred - PRIOR_MEAN


def closed_form(levels, transitions):
    """Mean and variance of x_0 of the sampled process: the velocity is affine in x, so each step is too."""
    mean, variance = 0.0, 1.0
    for s, p, q, std in zip(levels[:-1], *transitions, strict=True):
        slope = (s - (1 - s) * PRIOR_STD**2) / ((1 - s) ** 2 * PRIOR_STD**2 + s**2)
        mean = p * mean + q * (slope * (mean - (1 - s) * PRIOR_MEAN) - PRIOR_MEAN)
        variance = (p + q * slope) ** 2 * variance + std**2
    return mean, variance


def sampled(grid):
    noise = torch.randn(NUM_IMAGES, grid.num_steps + 1, 1, 1, 1, generator=torch.Generator().manual_seed(0))
    return draw(exact_velocity, None, noise, Conditioning(torch.zeros(NUM_IMAGES, 1, 1)), grid)


@pytest.mark.parametrize("sampler", SAMPLERS)
@pytest.mark.parametrize("num_steps", [5, 40])
def test_samples_of_gaussian_data_have_the_mean_and_variance_of_the_closed_form(sampler, num_steps):
    levels = flow_levels(num_steps, shift=2.0)
    transitions = SAMPLERS[sampler](levels, eta=0.7)

    x_0 = sampled(flow_grid(levels, transitions)).final.flatten().double()

    mean, variance = closed_form(levels, transitions)
    assert abs(float(x_0.mean()) - mean) < 4 * math.sqrt(variance / NUM_IMAGES)
    assert abs(float(x_0.var()) - variance) < 4 * variance * math.sqrt(2 / NUM_IMAGES)


def test_with_many_steps_the_samples_of_the_sde_are_the_data():
    levels = flow_levels(2000)

    mean, variance = closed_form(levels, flow_sde(levels, eta=0.7))

    assert mean == pytest.approx(PRIOR_MEAN, abs=0.01)
    assert variance == pytest.approx(PRIOR_STD**2, rel=0.02)


@pytest.mark.parametrize("num_steps", [10, 2000])
def test_cps_draws_images_of_less_variance_than_the_deterministic_sampler_and_more_so_with_more_noise(num_steps):
    levels = flow_levels(num_steps)

    some, more = (closed_form(levels, flow_cps(levels, eta=eta))[1] for eta in (0.2, 0.7))

    assert more < some < closed_form(levels, euler(levels))[1]


@pytest.mark.parametrize("sampler", SAMPLERS)
def test_log_probs_are_those_of_torch_distributions_and_only_of_stochastic_steps(sampler):
    levels = flow_levels(8, shift=3.0)
    grid = flow_grid(levels, SAMPLERS[sampler](levels, eta=0.7), min_std=0.3)
    part = grid.stochastic_part()

    drawn = sampled(grid)

    assert drawn.latents.shape[1] == part.num_steps + 1 < 9
    assert drawn.log_probs.shape == (NUM_IMAGES, part.num_steps)
    for step in range(part.num_steps):
        x = drawn.latents[:, step].double()
        v = exact_velocity(x, torch.full((NUM_IMAGES,), part.timesteps[step]), None)
        expected = Normal(part.p[step] * x + part.q[step] * v, part.stds[step]).log_prob(drawn.latents[:, step + 1])
        torch.testing.assert_close(drawn.log_probs[:, step].double(), expected.mean(dim=(1, 2, 3)), rtol=0, atol=1e-4)
    assert drawn.x_0 is not None
    assert not torch.equal(drawn.x_0, drawn.latents[:, -1])


def test_steps_after_the_first_narrow_one_are_eulers():
    levels = flow_levels(10, shift=3.0)
    transitions = flow_cps(levels, eta=0.7)

    grid = flow_grid(levels, transitions, min_std=0.3)

    assert grid.stochastic.tolist() == (transitions[2] >= 0.3).tolist()
    deterministic = ~grid.stochastic
    np.testing.assert_array_equal(grid.q[deterministic], np.diff(levels)[deterministic])
    np.testing.assert_array_equal(grid.p[deterministic], 1)


def test_a_window_trains_its_steps_alone_and_keeps_the_latents_around_them():
    levels = flow_levels(6)
    grid = flow_grid(levels, flow_cps(levels, eta=0.7), window=(2, 4))

    drawn = sampled(grid)

    assert grid.stochastic.tolist() == [False, False, True, True, False, False]
    assert drawn.latents.shape[1] == 3
    x = torch.randn(NUM_IMAGES, 7, 1, 1, 1, generator=torch.Generator().manual_seed(0))[:, 0]
    for step in range(2):
        t = torch.full((NUM_IMAGES,), grid.timesteps[step])
        x = x + (levels[step + 1] - levels[step]) * exact_velocity(x, t, None)
    torch.testing.assert_close(drawn.latents[:, 0], x, rtol=1e-5, atol=1e-5)


def test_the_deterministic_sampler_has_no_log_probs():
    drawn = sampled(euler_grid(flow_levels(4)))

    assert drawn.log_probs.shape == (NUM_IMAGES, 0)
    assert torch.equal(drawn.final, drawn.x_0)


@pytest.mark.parametrize("options", [{"min_std": 2.0}, {"window": (3, 4)}, {"window": (7, 9)}])
def test_a_grid_without_a_stochastic_step_is_refused(options):
    levels = flow_levels(4)

    with pytest.raises(ValueError, match="no step is stochastic"):
        flow_grid(levels, flow_cps(levels, eta=0.7), **options)


def test_the_flow_matching_error_is_zero_at_the_true_velocity_and_epsilons_is_that_of_v():
    x_0, noise, output = torch.randn(3, 2, 1, 2, 2, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    levels = torch.tensor([0.9, 0.3], dtype=torch.float64)
    a = levels[:, None, None, None]

    velocity_error = denoising_error(noise - x_0, x_0, noise, levels, "flow")
    x_t = noised(x_0, noise, levels, "v_prediction")
    as_epsilon = a.sqrt() * output + (1 - a).sqrt() * x_t

    assert velocity_error.abs().max() == 0
    torch.testing.assert_close(noised(x_0, noise, levels, "flow"), (1 - a) * x_0 + a * noise)
    torch.testing.assert_close(denoising_error(output, x_0, noise, levels, "v_prediction"), noise - as_epsilon)
