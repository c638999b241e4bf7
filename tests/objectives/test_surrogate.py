import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_finetuning.objectives.surrogate import clip_fraction, clipped_surrogate, clipped_surrogate_grad

CASES = [1e-6, 1e-4, 0.2, math.inf]


def example(seed, spread):
    g = torch.Generator().manual_seed(seed)
    old = torch.randn(5, 4, generator=g, dtype=torch.float64)
    log_probs = old + spread * torch.randn(5, 4, generator=g, dtype=torch.float64)
    return log_probs, old, torch.randn(5, 4, generator=g, dtype=torch.float64)


def independent_loss(log_probs, old, advantages, clip_range):
    """min and max of one scalar tensor at a time, for autograd to go through."""
    total = torch.zeros((), dtype=torch.float64)
    for lp, l0, A in zip(log_probs.flatten(), old.flatten(), advantages.flatten(), strict=True):
        w = torch.exp(lp - l0)
        clipped = torch.clip(w, 1 - clip_range, 1 + clip_range)
        total = total - torch.min(A * w, A * clipped)
    return total / log_probs.numel()


@pytest.mark.parametrize("clip_range", CASES)
@pytest.mark.parametrize("seed", range(5))
def test_loss_and_closed_form_gradient_equal_autograd_of_the_scalars(seed, clip_range):
    log_probs, old, advantages = example(seed, 2 * min(clip_range, 1.0))
    leaf = log_probs.clone().requires_grad_()

    expected = independent_loss(leaf, old, advantages, clip_range)
    expected.backward()
    loss = clipped_surrogate(log_probs, old, advantages, clip_range=clip_range).mean()
    grad = clipped_surrogate_grad(log_probs, old, advantages, clip_range=clip_range)

    assert float(loss) == pytest.approx(expected.item(), rel=1e-12)
    torch.testing.assert_close(grad, leaf.grad, rtol=1e-12, atol=0.0)


def test_four_cells_worked_by_hand():
    # Ratios 2, 2, 1/2, 1/2 with advantages 3, -3, 3, -3 and eps 0.2, so the clipped ratios are 1.2 and 0.8.
    log_probs = torch.tensor([[2.0, 2.0, 0.5, 0.5]]).log()
    advantages = torch.tensor([[3.0, -3.0, 3.0, -3.0]])

    loss = clipped_surrogate(log_probs, torch.zeros(1, 4), advantages, clip_range=0.2)
    grad = clipped_surrogate_grad(log_probs, torch.zeros(1, 4), advantages, clip_range=0.2)

    # Too far the right way is stopped (-3.6 and 2.4), too far the wrong way is not (6 and -1.5).
    assert loss[0].tolist() == pytest.approx([-3.6, 6.0, -1.5, 2.4], rel=1e-6)
    assert grad[0].tolist() == pytest.approx([0.0, 6.0 / 4, -1.5 / 4, 0.0], rel=1e-6)
    assert clip_fraction(log_probs, torch.zeros(1, 4), clip_range=0.2) == 1.0


@given(seed=st.integers(0, 1000), clip_range=st.sampled_from([1e-6, 1e-4, 0.2]))
@settings(max_examples=30, deadline=None)
def test_a_cell_outside_the_band_on_its_advantages_side_gets_no_gradient(seed, clip_range):
    _, old, advantages = example(seed, 0.0)
    beyond = torch.where(advantages > 0, math.log1p(2 * clip_range), math.log1p(-2 * clip_range))

    right = clipped_surrogate_grad(old + beyond, old, advantages, clip_range=clip_range)
    wrong = clipped_surrogate_grad(old - beyond, old, advantages, clip_range=clip_range)

    assert not right.any()
    assert (wrong * advantages < 0).all()


def test_at_the_sampling_policy_it_is_the_plain_policy_gradient():
    _, old, advantages = example(0, 0.0)

    grad = clipped_surrogate_grad(old, old, advantages[:, :1], clip_range=1e-4)

    torch.testing.assert_close(grad, -advantages[:, :1].expand(5, 4) / 20, rtol=1e-12, atol=0.0)
