import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_finetuning.config.sections.objective import PrdpConfig
from reward_finetuning.objectives.prdp import Prdp, prdp_grad, prdp_loss
from reward_finetuning.records import Batch

TABLE_4 = [(3e-5, 1e-6), (3e-6, 1e-4), (3e-5, 1e-4)]  # (beta, epsilon): small scale, large scale, multi-reward
CASES = [*TABLE_4, (1.0, 0.1), (0.5, math.inf)]


def independent_loss(lp, old, ref, rewards, *, clip_range, kl_weight):
    """The paper's sum over pairs, one scalar at a time in Python floats (float64)."""
    K, T = lp.shape
    lp, old, ref, rewards = (x.double().tolist() for x in (lp, old, ref, rewards))
    total, pairs = 0.0, 0
    for i, j in itertools.permutations(range(K), 2):
        if not rewards[i] > rewards[j]:
            continue
        s, sc = [0.0, 0.0], [0.0, 0.0]
        for side, k in enumerate((i, j)):
            for t in range(T):
                ratio, center = lp[k][t] - ref[k][t], old[k][t] - ref[k][t]
                s[side] += ratio / T
                sc[side] += min(max(ratio, center - clip_range), center + clip_range) / T
        target = (rewards[i] - rewards[j]) / kl_weight
        total += max((s[0] - s[1] - target) ** 2, (sc[0] - sc[1] - target) ** 2)
        pairs += 1
    return total / pairs if pairs else 0.0


def example(seed, *, K=6, T=5, spread, reference=1.0):
    g = torch.Generator().manual_seed(seed)
    old = torch.randn(K, T, generator=g, dtype=torch.float64)
    ref = old + reference * torch.randn(K, T, generator=g, dtype=torch.float64)
    log_probs = old + spread * torch.randn(K, T, generator=g, dtype=torch.float64)
    rewards = torch.randn(K, generator=g, dtype=torch.float64)
    return log_probs, old, ref, rewards


@pytest.mark.parametrize(("kl_weight", "clip_range"), CASES)
@pytest.mark.parametrize("seed", range(5))
def test_loss_equals_the_sum_over_pairs_written_out(seed, kl_weight, clip_range):
    args = example(seed, spread=2 * min(clip_range, 1.0))

    loss = prdp_loss(*args, clip_range=clip_range, kl_weight=kl_weight)

    expected = independent_loss(*args, clip_range=clip_range, kl_weight=kl_weight)
    assert float(loss) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("kl_weight", "clip_range"), CASES)
@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_closed_form_gradient_equals_autograd(seed, ties, kl_weight, clip_range):
    log_probs, old, ref, rewards = example(seed, spread=2 * min(clip_range, 1.0))
    if ties:
        rewards = (rewards * 1.5).round()
    leaf = log_probs.clone().requires_grad_()

    prdp_loss(leaf, old, ref, rewards, clip_range=clip_range, kl_weight=kl_weight).backward()
    closed = prdp_grad(log_probs, old, ref, rewards, clip_range=clip_range, kl_weight=kl_weight)

    assert leaf.grad is not None
    assert (closed - leaf.grad).norm() <= 1e-12 * leaf.grad.norm()


def test_gradient_equals_finite_differences_of_the_independent_loss():
    log_probs, old, ref, rewards = example(3, spread=0.2)
    setting = {"clip_range": 0.1, "kl_weight": 0.7}
    closed = prdp_grad(log_probs, old, ref, rewards, **setting)

    for i, t in itertools.product(range(6), range(5)):
        step = torch.zeros_like(log_probs)
        step[i, t] = 1e-6
        up = independent_loss(log_probs + step, old, ref, rewards, **setting)
        down = independent_loss(log_probs - step, old, ref, rewards, **setting)
        assert float(closed[i, t]) == pytest.approx((up - down) / 2e-6, rel=1e-5, abs=1e-7)


def test_a_pair_worked_by_hand():
    # s = (0.3, 0.0), clip range 0.1 around 0: sc = (0.1, 0.0), target (1 - 0) / 2 = 0.5; D = -0.2, Dc = -0.4.
    log_probs = torch.tensor([[0.3], [0.0]])
    zeros = torch.zeros(2, 1)
    args = (log_probs, zeros, zeros, torch.tensor([1.0, 0.0]))

    assert float(prdp_loss(*args, clip_range=0.1, kl_weight=2.0)) == pytest.approx(0.16, rel=1e-6)
    # The maximum is the clipped branch: only the loser, inside its range, is pushed: d/ds_l (s_w - s_l - 0.5)^2 = 0.8.
    grad = prdp_grad(*args, clip_range=0.1, kl_weight=2.0)
    assert grad[:, 0].tolist() == pytest.approx([0.0, 0.8], rel=1e-6)


def test_at_the_sampling_policy_equal_to_the_reference_it_is_a_centred_policy_gradient():
    _, old, _, rewards = example(0, spread=0.0)
    K, T = old.shape
    n = K * (K - 1) / 2

    grad = prdp_grad(old, old, old, rewards, clip_range=1e-4, kl_weight=0.3)

    expected = -(2 * K / (n * T * 0.3)) * (rewards - rewards.mean())
    torch.testing.assert_close(grad, expected[:, None].expand(K, T), rtol=1e-12, atol=1e-12)


def test_equal_rewards_give_no_loss_and_no_gradient():
    log_probs, old, ref, _ = example(1, spread=0.1)
    rewards = torch.full((6,), 0.25)

    assert float(prdp_loss(log_probs, old, ref, rewards, clip_range=0.1, kl_weight=1.0)) == 0.0
    assert not prdp_grad(log_probs, old, ref, rewards, clip_range=0.1, kl_weight=1.0).any()


@given(seed=st.integers(0, 1000), shift=st.floats(-8, 8), kl_weight=st.sampled_from([3e-6, 1.0]))
@settings(max_examples=30, deadline=None)
def test_adding_a_constant_to_all_rewards_changes_nothing(seed, shift, kl_weight):
    log_probs, old, ref, rewards = example(seed, spread=0.01)
    rewards, shift = (rewards * 64).round() / 64, round(shift * 64) / 64  # exact in binary

    plain = prdp_grad(log_probs, old, ref, rewards, clip_range=0.01, kl_weight=kl_weight)
    shifted = prdp_grad(log_probs, old, ref, rewards + shift, clip_range=0.01, kl_weight=kl_weight)

    torch.testing.assert_close(plain, shifted, rtol=1e-9, atol=0.0)


@given(seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_a_better_image_is_never_pushed_up_once_it_moved_up_beyond_the_clip_range(seed):
    log_probs, old, ref, rewards = example(seed, spread=0.0, reference=0.0)
    best = int(rewards.argmax())
    log_probs = log_probs.clone()
    log_probs[best] += 0.02  # beyond the range of 0.01, short of the target

    grad = prdp_grad(log_probs, old, ref, rewards, clip_range=0.01, kl_weight=0.01)

    assert (grad[best] >= 0).all()


def test_float32_cannot_resolve_the_maximum_where_float64_can():
    # Table 4's beta: the sum over float32 pairs ties where clipping acts, so half of each gradient leaks through.
    log_probs, old, ref, rewards = (x.float() for x in example(2, K=16, T=50, spread=2e-4, reference=1e-3))
    setting = {"clip_range": 1e-4, "kl_weight": 3e-6}
    exact = prdp_grad(log_probs, old, ref, rewards, **setting)

    single = prdp_grad(log_probs, old, ref, rewards, precision=torch.float32, **setting).double()

    assert (single - exact).norm() > 0.05 * exact.norm()


def batch_of(log_probs, old, ref, rewards, prompt_index):
    return Batch(old, ref, rewards, torch.tensor(prompt_index), torch.tensor(prompt_index))


def test_the_batch_is_the_mean_over_prompts_that_have_a_pair():
    log_probs, old, ref, rewards = example(4, spread=0.05)
    rewards = rewards.clone()
    rewards[4:] = 0.5  # the third prompt is tied
    objective = Prdp(PrdpConfig(kl_weight=0.5, clip_range=0.1))
    batch = batch_of(log_probs, old, ref, rewards, [0, 1, 0, 1, 2, 2])

    g = objective.coefficients(log_probs, batch)
    metrics = objective.metrics(log_probs, batch)

    for rows in ([0, 2], [1, 3]):
        alone = prdp_grad(log_probs[rows], old[rows], ref[rows], rewards[rows], clip_range=0.1, kl_weight=0.5)
        torch.testing.assert_close(g[rows], alone / 2)
    assert not g[4:].any()
    assert metrics["tied_prompts"] == 1.0
    assert metrics["loss"] > 0


def test_images_of_different_prompts_never_pair():
    log_probs, old, ref, rewards = example(5, K=4, spread=0.05)
    objective = Prdp(PrdpConfig(kl_weight=0.5, clip_range=0.1))

    g = objective.coefficients(log_probs, batch_of(log_probs, old, ref, rewards, [0, 1, 2, 3]))

    assert not g.any()


def test_shapes_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match=r"rewards must be \[K=6\]"):
        prdp_loss(*example(0, spread=0.1)[:3], torch.zeros(5), clip_range=0.1, kl_weight=1.0)
