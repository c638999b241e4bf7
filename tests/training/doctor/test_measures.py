"""The doctor's maths: by hand, by property, and against what numpy, torch's AdamW and the objectives compute."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_finetuning.config.sections.objective import DpokConfig, PpodConfig, PrdpConfig
from reward_finetuning.objectives import build_objective
from reward_finetuning.objectives.prdp import prdp_grad
from reward_finetuning.training.doctor.measures import (
    GradientPart,
    Moments,
    adam_step,
    log_prob_move,
    noise_share,
    reference_pull,
)

TWO_PROMPTS = torch.tensor([0, 0, 1, 1])


def normal(seed, *shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_the_pull_is_beta_times_the_spread_of_log_ratios_over_that_of_rewards_within_prompts():
    log_ratios = torch.tensor([[0.1, 0.3], [0.0, 0.0], [5.0, 5.0], [5.0, 5.0]])  # s = 0.2, 0 and 5, 5
    rewards = torch.tensor([1.0, 0.0, 9.0, 7.0])

    pull = reference_pull(log_ratios, torch.zeros(4, 2), rewards, TWO_PROMPTS, weight=10.0)

    # Squared distances to the prompt's mean: s 0.1² twice and 0 twice; r 0.5² twice and 1² twice.
    assert pull == pytest.approx(10 * (0.01 / 2) ** 0.5 / (1.25 / 2) ** 0.5)


@given(st.integers(0, 999), st.floats(0.1, 100), st.floats(0.1, 100), st.floats(-9, 9))
def test_the_pull_depends_on_the_unit_of_the_reward_and_not_on_the_level_of_a_prompt(seed, weight, unit, level):
    log_probs, rewards = normal(seed, 4, 3), normal(seed + 1, 4)

    def pull(rewards, weight):
        return reference_pull(log_probs, torch.zeros(4, 3), rewards, TWO_PROMPTS, weight=weight)

    assert pull(unit * rewards, unit * weight) == pytest.approx(pull(rewards, weight), rel=1e-6)
    assert pull(rewards + level * TWO_PROMPTS, weight) == pytest.approx(pull(rewards, weight), rel=1e-6)


@pytest.mark.parametrize(("pull", "direction"), [(0.5, -1), (1.0, 0), (2.0, 1)])
def test_prdp_raises_the_best_image_where_the_pull_is_below_1_and_lowers_it_above(pull, direction):
    rewards, beta = torch.tensor([1.0, 0.0]).double(), 4.0
    log_probs, zeros = (pull * rewards / beta)[:, None].expand(2, 3), torch.zeros(2, 3)

    found = reference_pull(log_probs, zeros, rewards, torch.zeros(2, dtype=torch.int64), weight=beta)
    g = prdp_grad(log_probs, log_probs, zeros, rewards, clip_range=1.0, kl_weight=beta)

    assert found == pytest.approx(pull)
    assert np.sign(np.round(g[0].numpy(), 12)).tolist() == [direction] * 3


def test_there_is_no_pull_where_rewards_do_not_differ_within_a_prompt():
    assert reference_pull(normal(0, 4, 3), normal(1, 4, 3), TWO_PROMPTS.double(), TWO_PROMPTS, weight=1.0) is None


def test_dpoks_weight_is_what_its_kl_amounts_to_as_a_reward():
    """KL's gradient in the mean of a Gaussian, and the score-function estimate of it that the weight rests on."""
    T, num_elements, alpha, beta, std = 1, 3, 10.0, 0.1, 0.5
    dpok = build_objective(DpokConfig(kl_weight=beta, reward_weight=alpha, value_baseline=False))
    mean, mean_ref = np.array([0.3, -0.2, 0.1]), np.zeros(num_elements)
    x = mean + std * np.random.default_rng(0).standard_normal((400_000, num_elements))
    s = ((x - mean_ref) ** 2 - (x - mean) ** 2).mean(axis=1) / (2 * std**2)
    score = (x - mean) / std**2 / num_elements  # of the log-prob, a mean over elements

    exact = beta * (mean - mean_ref) / std**2 / num_elements
    as_reward = alpha * (dpok.reference_weight(T, num_elements) * s[:, None] * score).mean(axis=0)

    assert as_reward == pytest.approx(exact, rel=0.03)


def test_a_method_that_does_not_weigh_the_reference_against_the_reward_has_no_pull():
    assert build_objective(PrdpConfig(kl_weight=3.0)).reference_weight(5, 256) == 3.0
    assert build_objective(PpodConfig(kl_weight=3.0)).reference_weight(5, 256) is None
    assert build_objective(PpodConfig(kl_weight=3.0, loss="reward_difference")).reference_weight(5, 256) == 15.0
    assert build_objective(DpokConfig(kl_weight=0.0)).reference_weight(5, 256) is None


def test_the_move_is_a_mean_over_evaluated_cells_in_units_of_the_clip_range():
    log_probs = torch.tensor([[0.002, float("nan")], [-0.004, float("nan")]])

    assert log_prob_move(log_probs, torch.zeros(2, 2), clip_range=1e-3) == pytest.approx(3.0)


@given(st.integers(0, 999), st.floats(1e-6, 1e2))
def test_the_move_is_that_of_numpy(seed, clip_range):
    after, before = normal(seed, 5, 3), normal(seed + 1, 5, 3)

    move = log_prob_move(after, before, clip_range=clip_range)

    assert move == pytest.approx(np.mean(np.abs(after.numpy() - before.numpy())) / clip_range)


def parts(*gradients, sizes=None):
    found = [np.asarray(gradient, dtype=float) for gradient in gradients]
    sizes = sizes or [1] * len(found)
    whole = sum(found)
    return [GradientPart(n, float(h @ h)) for n, h in zip(sizes, found, strict=True)], float(whole @ whole)


def test_halves_that_agree_have_no_noise_and_orthogonal_ones_nothing_else():
    assert noise_share(*parts([1.0, 2.0], [1.0, 2.0])) == pytest.approx(0.0)
    assert noise_share(*parts([1.0, 0.0], [0.0, 1.0])) == pytest.approx(1.0)
    assert noise_share(*parts([1.0, 1.0], [1.0, 0.0])) == pytest.approx(1 / 5)  # |h1 - h2|^2 / |g|^2


def test_one_part_or_no_gradient_says_nothing_of_noise():
    assert noise_share(*parts([1.0, 2.0])) is None
    assert noise_share(*parts([1.0], [-1.0])) is None


@given(st.integers(0, 999), st.integers(2, 9))
def test_with_a_part_a_cell_it_is_the_sample_covariance_of_the_cells_gradients(seed, num_cells):
    gradients = normal(seed, num_cells, 4).numpy()
    covariance_of_sum = num_cells * np.trace(np.cov(gradients, rowvar=False))
    whole = gradients.sum(axis=0)

    assert noise_share(*parts(*gradients)) == pytest.approx(covariance_of_sum / (whole @ whole))


def test_parts_of_unequal_size_estimate_the_noise_without_bias():
    rng, signal, sizes = np.random.default_rng(0), np.array([0.3, 0.1, 0.0, 0.2]), [10, 25, 5]
    estimates = []
    for _ in range(4000):
        cells = signal + rng.standard_normal((40, 4))
        of_parts, squared_norm = parts(*[part.sum(axis=0) for part in np.split(cells, [10, 35])], sizes=sizes)
        estimates.append(noise_share(of_parts, squared_norm) * squared_norm)

    assert np.mean(estimates) == pytest.approx(40 * 4, rel=0.03)  # 40 cells of variance 1 in 4 dimensions


def trained(gradients, epsilon=1e-8, betas=(0.9, 0.999), lr=0.1):
    """AdamW of torch: its newest change in units of lr, and its state."""
    weight = torch.zeros(len(gradients[0]), dtype=torch.float32, requires_grad=True)
    optimizer = torch.optim.AdamW([weight], lr=lr, betas=betas, eps=epsilon, weight_decay=0.0)
    for gradient in gradients:
        before = weight.detach().clone()
        weight.grad = gradient.float()
        optimizer.step()
    (state,) = optimizer.state_dict()["state"].values()
    moments = Moments(state["exp_avg"], state["exp_avg_sq"], int(state["step"]))
    return (weight.detach() - before) / lr, moments


@settings(deadline=None)  # the first step of an optimizer loads much of torch
@given(st.integers(0, 99), st.integers(1, 6), st.sampled_from([1e-8, 1e-2, 1.0]))
def test_the_step_is_that_of_torch(seed, num_updates, epsilon):
    change, moments = trained(list(normal(seed, num_updates, 7)), epsilon)

    step = adam_step([moments], betas=(0.9, 0.999), epsilon=epsilon)

    assert step.size == pytest.approx(float(change.double().square().mean().sqrt()), rel=1e-3)


def test_the_first_step_is_one_learning_rate_and_that_of_pure_noise_settles_at_a_quarter():
    _, first = trained([torch.tensor([5.0, -1e-3, 2.0])])
    _, noisy = trained(list(normal(0, 400, 500)))

    assert adam_step([first], betas=(0.9, 0.999), epsilon=1e-8).size == pytest.approx(1.0, rel=1e-4)
    assert adam_step([noisy], betas=(0.9, 0.999), epsilon=1e-8).size == pytest.approx((0.1 / 1.9) ** 0.5, rel=0.1)


def test_epsilon_is_compared_to_a_tenth_of_the_root_of_the_second_moment():
    _, moments = trained([torch.tensor([1e-6, 1.01e-7, 0.99e-7, 1e-9, 0.0])])  # the last one had no gradient

    step = adam_step([moments], betas=(0.9, 0.999), epsilon=1e-8)

    assert step.epsilon_share == pytest.approx(2 / 4)


def test_weights_without_a_gradient_have_no_step():
    assert adam_step([], betas=(0.9, 0.999), epsilon=1e-8) is None
    assert adam_step([Moments(torch.zeros(2), torch.zeros(2), 1)], betas=(0.9, 0.999), epsilon=1e-8) is None
