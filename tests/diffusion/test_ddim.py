import numpy as np
import pytest
import torch
from diffusers import DDIMScheduler, DDPMScheduler

from reward_finetuning.diffusion.ddim import alphas_cumprod, ddim_grid
from reward_finetuning.diffusion.step import DeviceGrid, step_mean

SD = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "clip_sample": False}
ALPHA_BARS = alphas_cumprod(0.00085, 0.012, 1000, "scaled_linear")


def ddim(**changes):
    return DDIMScheduler(**SD, **({"steps_offset": 1, "set_alpha_to_one": False} | changes))


@pytest.mark.parametrize("num_steps", [1, 10, 50, 333])
@pytest.mark.parametrize("eta", [1.0, 0.3])
def test_every_step_agrees_with_diffusers_ddim(num_steps, eta):
    scheduler = ddim()
    scheduler.set_timesteps(num_steps)
    grid = ddim_grid(ALPHA_BARS, num_steps, eta=eta, min_std=1e-6)
    on_cpu = DeviceGrid.of(grid, torch.device("cpu"), torch.float32)
    g = torch.Generator().manual_seed(0)
    x, epsilon, noise = torch.randn(3, 1, 4, 8, 8, generator=g)

    assert grid.timesteps.tolist() == scheduler.timesteps.tolist()
    for step, t in enumerate(scheduler.timesteps):
        theirs = scheduler.step(epsilon, t, x, eta=eta, variance_noise=noise).prev_sample
        steps = torch.tensor([step])
        ours = step_mean(x, epsilon, on_cpu, steps) + on_cpu.stds[steps] * noise
        torch.testing.assert_close(ours, theirs, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("spacing", ["leading", "trailing", "linspace"])
def test_timesteps_of_every_spacing_agree_with_diffusers(spacing):
    scheduler = ddim(timestep_spacing=spacing)
    scheduler.set_timesteps(20)

    grid = ddim_grid(ALPHA_BARS, 20, spacing=spacing, min_std=0.0)

    assert grid.timesteps.tolist() == scheduler.timesteps.tolist()


def test_on_the_full_grid_it_is_ddpms_posterior():
    scheduler = DDPMScheduler(**SD, variance_type="fixed_small")
    grid = ddim_grid(ALPHA_BARS, 1000, steps_offset=0, min_std=0.0)

    for t in (999, 500, 1):
        step = 999 - t
        assert grid.timesteps[step] == t
        assert grid.stds[step] ** 2 == pytest.approx(float(scheduler._get_variance(t)), rel=1e-4)


def test_quadratic_steps_are_fine_near_the_image_and_go_from_one_to_the_next():
    grid = ddim_grid(ALPHA_BARS, 10, spacing="quadratic")

    assert grid.timesteps.tolist() == [901, 712, 545, 401, 278, 178, 101, 45, 12, 1]
    np.testing.assert_array_equal(grid.next_levels[:-1], grid.levels[1:])
    assert grid.next_levels[-1] == ALPHA_BARS[0]


@pytest.mark.parametrize("num_steps", [31, 32, 50, 200, 999])
def test_quadratic_steps_are_distinct_however_many_there_are(num_steps):
    grid = ddim_grid(ALPHA_BARS, num_steps, spacing="quadratic")

    assert (np.diff(grid.timesteps) < 0).all()
    assert grid.timesteps[-1] == 1
    assert grid.stds.min() > 0.02


def test_a_quadratic_grid_that_does_not_fit_is_refused_with_how_many_steps_do():
    with pytest.raises(ValueError, match="begins at timestep 1 and has room for 999 steps, got 1000"):
        ddim_grid(ALPHA_BARS, 1000, spacing="quadratic")


def test_the_advice_is_not_what_is_already_set():
    with pytest.raises(ValueError, match=r"larger ddim_eta \(it is 0.01\)") as error:
        ddim_grid(ALPHA_BARS, 50, eta=0.01)

    assert "scheduler: own" not in str(error.value)


def sensitivity(grid):
    """Squared score of each step per unit of change of epsilon, as shares: |d mu / d eps|^2 / sigma^2."""
    x, steps = torch.zeros(grid.num_steps, 1, 1, 1, dtype=torch.float64), torch.arange(grid.num_steps)
    on_cpu = DeviceGrid.of(grid, x.device, x.dtype)
    share = (step_mean(x, x + 1, on_cpu, steps).flatten() / torch.from_numpy(grid.stds)) ** 2
    return share / share.sum()


def test_with_few_steps_an_even_stride_leaves_one_step_most_of_the_gradient_and_a_quadratic_one_does_not():
    assert sensitivity(ddim_grid(ALPHA_BARS, 10)).max() > 0.8
    assert sensitivity(ddim_grid(ALPHA_BARS, 10, spacing="quadratic")).max() < 0.25


def test_alpha_bars_agree_with_diffusers():
    np.testing.assert_allclose(ALPHA_BARS, ddim().alphas_cumprod.numpy(), rtol=2e-5)


def test_stable_diffusions_convention_keeps_a_variance_at_the_last_step():
    assert ddim_grid(ALPHA_BARS, 50).stds[-1] == pytest.approx(0.0207, abs=1e-4)


@pytest.mark.parametrize("convention", [{"steps_offset": 0}, {"final_alpha_bar": 1.0}])
def test_a_last_step_without_variance_is_refused(convention):
    with pytest.raises(ValueError, match=r"sigma of step 50 of 50 \(timestep [01]\) is 0, below the floor"):
        ddim_grid(ALPHA_BARS, 50, **convention)


def test_more_steps_than_training_steps_are_refused():
    with pytest.raises(ValueError, match="at most the model's 1000"):
        ddim_grid(ALPHA_BARS, 1001)


def test_an_unknown_schedule_is_named():
    with pytest.raises(ValueError, match="'cosine'"):
        alphas_cumprod(0.1, 0.2, 10, "cosine")


def test_zero_terminal_snr_agrees_with_diffusers_and_a_step_from_pure_noise_is_refused():
    alpha_bars = alphas_cumprod(0.00085, 0.012, 1000, "scaled_linear", zero_terminal_snr=True)

    np.testing.assert_allclose(alpha_bars, ddim(rescale_betas_zero_snr=True).alphas_cumprod.numpy(), atol=2e-6)
    assert ddim_grid(alpha_bars, 50).timesteps[0] == 981
    with pytest.raises(ValueError, match=r"timestep 999 has zero signal-to-noise ratio"):
        ddim_grid(alpha_bars, 50, spacing="trailing")


@pytest.mark.parametrize("spacing", ["leading", "quadratic"])
def test_a_step_from_v_is_the_step_from_the_noise_that_v_means(spacing):
    of_epsilon = ddim_grid(ALPHA_BARS, 7, spacing=spacing)
    of_v = ddim_grid(ALPHA_BARS, 7, spacing=spacing, prediction="v_prediction")
    g = torch.Generator().manual_seed(0)
    x, v = torch.randn(2, 7, 4, 8, 8, generator=g, dtype=torch.float64)
    steps = torch.arange(7)
    a = torch.from_numpy(of_v.levels)[:, None, None, None]

    epsilon = a.sqrt() * v + (1 - a).sqrt() * x

    means = [
        step_mean(x, output, DeviceGrid.of(grid, x.device, x.dtype), steps)
        for output, grid in ((v, of_v), (epsilon, of_epsilon))
    ]
    torch.testing.assert_close(*means, rtol=1e-12, atol=1e-12)


def test_a_negative_offset_is_refused():
    with pytest.raises(ValueError, match="steps_offset must be at least 0, got -1"):
        ddim_grid(alphas_cumprod(0.00085, 0.012, 1000, "scaled_linear"), 5, steps_offset=-1)
