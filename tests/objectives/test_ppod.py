import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_finetuning.config import TrainingError
from reward_finetuning.config.sections.objective import ConvergenceConfig, PpodConfig
from reward_finetuning.objectives.pairs import Pairs, draw_pairs
from reward_finetuning.objectives.ppod import Ppod, accuracy, margins, pair_loss, pair_slope, ppod_grad
from reward_finetuning.records import Batch

LOSSES = ("cross_entropy", "brier", "reward_difference")
NO_SOURCE = None  # PPOD never looks at the trajectories


def case(seed=0, images=8, steps=3, scale=1.0):
    g = torch.Generator().manual_seed(seed)
    ratios = scale * torch.randn(images, steps, generator=g, dtype=torch.float64)
    rewards = torch.rand(images, generator=g, dtype=torch.float64)
    prompts = torch.arange(images) % 2
    return ratios, rewards, prompts


def scalar_loss(ratios, rewards, pairs, loss, kl_weight, clip_range):
    """The paper's sums, one number after the other."""
    total = 0.0
    for w, loser in pairs:
        z = 0.0
        for t in range(ratios.shape[1]):
            z = z + ratios[w, t].clamp(-clip_range, clip_range) - ratios[loser, t].clamp(-clip_range, clip_range)
        z = kl_weight * z
        if loss == "cross_entropy":
            total = total - torch.log(1 / (1 + torch.exp(-z)))
        elif loss == "brier":
            total = total + (1 - 1 / (1 + torch.exp(-z))) ** 2
        else:
            total = total + (z - (rewards[w] - rewards[loser])) ** 2
    return total / len(pairs)


@pytest.mark.parametrize("loss", LOSSES)
@pytest.mark.parametrize("clip_range", [0.7, math.inf])
def test_the_closed_form_is_autograds_gradient_of_the_papers_sums(loss, clip_range):
    ratios, rewards, prompts = case()
    pairs = draw_pairs(rewards, prompts, torch.arange(8), 20, np.random.default_rng(0))
    ratios.requires_grad_()
    scalar_loss(ratios, rewards, list(zip(pairs.winners, pairs.losers, strict=True)), loss, 0.8, clip_range).backward()

    g = ppod_grad(ratios.detach(), rewards, pairs, loss=loss, kl_weight=0.8, clip_range=clip_range)

    assert (g - ratios.grad).norm() <= 1e-12 * ratios.grad.norm()
    assert ratios.grad.abs().max() > 0


def test_a_pair_worked_by_hand():
    # One step; rho_w = ln 2, rho_l = 0, kl_weight 1: z = ln 2, sigma(z) = 2/3, -log sigma(z) = ln 1.5.
    ratios = torch.tensor([[math.log(2.0)], [0.0]], dtype=torch.float64)
    rewards = torch.tensor([1.0, 0.25], dtype=torch.float64)
    pair = Pairs(torch.tensor([0]), torch.tensor([1]))
    z = margins(ratios, pair, kl_weight=1.0)

    assert float(pair_loss(z, torch.tensor([0.75]), "cross_entropy")) == pytest.approx(math.log(1.5))
    assert float(pair_loss(z, torch.tensor([0.75]), "brier")) == pytest.approx(1 / 9)
    assert float(pair_loss(z, torch.tensor([0.75]), "reward_difference")) == pytest.approx((math.log(2) - 0.75) ** 2)
    g = ppod_grad(ratios, rewards, pair, loss="cross_entropy", kl_weight=1.0, clip_range=1.0)
    torch.testing.assert_close(g, torch.tensor([[-1 / 3], [1 / 3]], dtype=torch.float64))
    g = ppod_grad(ratios, rewards, pair, loss="brier", kl_weight=1.0, clip_range=1.0)
    torch.testing.assert_close(g, torch.tensor([[-4 / 27], [4 / 27]], dtype=torch.float64))


@pytest.mark.parametrize("loss", LOSSES)
def test_the_slope_is_the_losses_derivative(loss):
    z = torch.linspace(-6, 6, 25, dtype=torch.float64, requires_grad=True)
    gap = torch.full((25,), 0.4, dtype=torch.float64)
    (expected,) = torch.autograd.grad(pair_loss(z, gap, loss).sum(), z)

    torch.testing.assert_close(pair_slope(z.detach(), gap, loss), expected)


@settings(max_examples=50)
@given(st.integers(0, 2**31), st.sampled_from(LOSSES), st.floats(-5, 5))
def test_steps_outside_the_band_get_no_gradient_and_a_constant_reward_changes_nothing(seed, loss, constant):
    ratios, rewards, prompts = case(seed)
    pairs = draw_pairs(rewards, prompts, torch.arange(8), 12, np.random.default_rng(seed))
    options = {"loss": loss, "kl_weight": 0.5, "clip_range": 0.6}

    g = ppod_grad(ratios, rewards, pairs, **options)

    assert (g[ratios.abs() > 0.6] == 0).all()
    torch.testing.assert_close(ppod_grad(ratios, rewards + constant, pairs, **options), g)


@given(st.floats(1e-4, 10.0), st.floats(0.01, 100.0), st.integers(0, 2**31))
def test_the_margin_is_bounded_by_twice_weight_steps_and_clip_range(clip_range, kl_weight, seed):
    ratios, _, _ = case(seed, scale=50.0)
    pairs = Pairs(torch.tensor([0, 2]), torch.tensor([1, 3]))

    z = margins(ratios, pairs, kl_weight=kl_weight, clip_range=clip_range)

    assert (z.abs() <= 2 * kl_weight * ratios.shape[1] * clip_range * (1 + 1e-12)).all()


def objective(batch, **changes):
    built = Ppod(PpodConfig(kl_weight=1.0, clip_range=0.5, pairs_per_update=6, **changes))
    built.begin_epoch(batch, NO_SOURCE, np.random.default_rng(3))
    return built


def make_batch(seed=0, images=16):
    ratios, rewards, prompts = case(seed, images, scale=0.3)
    ref = torch.zeros(images, 3)
    return Batch(ratios.float(), ref, rewards, prompts, prompts), ratios.float()


def test_an_update_looks_at_its_pairs_alone():
    batch, log_probs = make_batch()
    ppod = objective(batch)
    rows = ppod.begin_update(0)
    hidden = torch.full_like(log_probs, float("nan"))
    hidden[rows] = log_probs[rows]

    g = ppod.coefficients(hidden, batch)

    torch.testing.assert_close(g, ppod.coefficients(log_probs, batch))
    assert set(g.any(dim=1).nonzero()[:, 0].tolist()) <= set(rows.tolist())
    assert len(rows) < 16


def test_the_reference_is_the_pretrained_model_or_the_policy_that_drew_the_stage():
    batch, log_probs = make_batch()
    pretrained, stage_start = objective(batch), objective(batch, reference="stage_start")
    for each in (pretrained, stage_start):
        each.begin_update(0)

    of_stage_start = stage_start.metrics(log_probs, batch)

    assert of_stage_start["loss"] == pytest.approx(math.log(2))  # nothing has moved: z = 0
    assert of_stage_start["pair_accuracy"] == 0.5
    assert pretrained.metrics(log_probs, batch)["loss"] != pytest.approx(math.log(2))


def test_a_stage_ends_after_patience_looks_without_a_new_best():
    batch, _ = make_batch()
    ppod = objective(batch, convergence=ConvergenceConfig(check_every=5, patience=2, heldout_share=0.25))
    heldout = ppod.heldout_rows(5, is_last=False)
    right = batch.rewards[:, None].expand(-1, 3).float()

    assert ppod.heldout_rows(7, is_last=False) is None
    assert torch.equal(ppod.heldout_rows(7, is_last=True), heldout)
    assert torch.equal(ppod.heldout_rows(0, is_last=False), heldout)
    assert not set(ppod.begin_update(0).tolist()) & set(heldout.tolist()), "held-out images are not trained on"
    looks = [ppod.look(x, batch) for x in (-right, right, right, right)]
    assert [look.is_best for look in looks] == [True, True, False, False]
    assert [look.ends_epoch for look in looks] == [False, False, False, True]
    assert [look.accuracy for look in looks] == [0.0, 1.0, 1.0, 1.0]


def test_a_further_pass_over_the_same_images_holds_out_the_same_and_goes_on_counting():
    batch, log_probs = make_batch()
    convergence = ConvergenceConfig(check_every=5, patience=2, heldout_share=0.25)
    first = objective(batch, convergence=convergence)
    assert not any(first.look(log_probs, batch).ends_epoch for _ in range(2))

    again = Ppod(PpodConfig(kl_weight=1.0, clip_range=0.5, pairs_per_update=6, convergence=convergence))
    again.load_state_dict(first.state_dict())
    again.begin_epoch(batch, NO_SOURCE, np.random.default_rng(99))

    assert torch.equal(again.heldout_rows(0, is_last=False), first.heldout_rows(5, is_last=False))
    assert again.look(log_probs, batch).ends_epoch, "the third look without a new best"


def test_other_images_begin_a_stage_of_their_own():
    batch, log_probs = make_batch()
    convergence = ConvergenceConfig(check_every=5, patience=1, heldout_share=0.25)
    ppod = objective(batch, convergence=convergence)
    assert [ppod.look(log_probs, batch).ends_epoch for _ in range(2)] == [False, True]

    other, other_log_probs = make_batch(seed=1)
    ppod.begin_epoch(other, NO_SOURCE, np.random.default_rng(3))

    look = ppod.look(other_log_probs, other)
    assert look.is_best
    assert not look.ends_epoch


def test_without_convergence_every_image_is_trained_on_and_no_look_is_taken():
    batch, _ = make_batch()
    ppod = objective(batch, convergence=None)
    seen = set()
    for update in range(40):
        assert ppod.heldout_rows(update, is_last=True) is None
        seen |= set(ppod.begin_update(update).tolist())

    assert seen == set(range(16))


def test_when_no_step_is_alive_that_is_an_error():
    batch, log_probs = make_batch()
    ppod = objective(batch)
    ppod.begin_update(0)

    with pytest.raises(TrainingError, match=r"no step of the \d+ images is within clip_range=0.5"):
        ppod.coefficients(log_probs + 100.0, batch)


def test_an_undecided_pair_counts_half():
    assert accuracy(torch.tensor([1.0, -1.0, 0.0, 2.0])) == 0.625
