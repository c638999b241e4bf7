"""Options of PRDP that the study looks at: each is the change that it says, on random log-probs of a few prompts."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from reward_finetuning.config.sections.objective import PrdpConfig
from reward_finetuning.objectives.prdp import Prdp, prdp_loss
from reward_finetuning.records import Batch

STUDY = Path(__file__).parents[2] / "benchmarks" / "study"
CONFIG = PrdpConfig(clip_range=0.5, kl_weight=2.0)
N, K, T = 3, 4, 5


@pytest.fixture
def options(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDY))
    sys.modules.pop("options", None)
    import options

    return options


@pytest.fixture
def case():
    g = torch.Generator().manual_seed(0)
    old, ref, log_probs = (torch.randn(N * K, T, generator=g, dtype=torch.float64) for _ in range(3))
    index = torch.arange(N).repeat_interleave(K)
    rewards = torch.randn(N * K, generator=g, dtype=torch.float64) * (1.0 + index)
    return log_probs, Batch(old, old + 0.3 * ref, rewards, index, index)


def losses(log_probs, batch, rewards):
    """The paper's loss of each prompt."""
    for rows in torch.arange(N * K).split(K):
        parts = (each[rows] for each in (log_probs, batch.log_probs_old, batch.log_probs_ref, rewards))
        yield prdp_loss(*parts, clip_range=CONFIG.clip_range, kl_weight=CONFIG.kl_weight)


@pytest.mark.parametrize(("name", "weight"), [("anchor-1", 1.0), ("anchor-10", 10.0)])
def test_an_anchor_adds_the_square_of_the_shift_that_a_prompts_images_share(options, case, name, weight):
    log_probs, batch = case
    log_probs.requires_grad_()
    shifts = (log_probs - batch.log_probs_old).view(N, K * T).mean(dim=1)
    (sum(losses(log_probs, batch, batch.rewards)) / N + weight * (shifts**2).mean()).backward()

    g = options.OPTIONS[name](CONFIG).coefficients(log_probs.detach(), batch)

    torch.testing.assert_close(g, log_probs.grad, rtol=1e-10, atol=1e-12)


def test_units_of_spread_give_prompts_of_different_spread_the_same_one(options, case):
    log_probs, batch = case
    log_probs.requires_grad_()
    stds = batch.rewards.view(N, K).std(dim=1, correction=0)
    rewards = (batch.rewards.view(N, K) / stds[:, None] * stds.mean()).flatten()
    (sum(losses(log_probs, batch, rewards)) / N).backward()

    objective = options.OPTIONS["units-of-spread"](CONFIG)

    torch.testing.assert_close(objective.coefficients(log_probs.detach(), batch), log_probs.grad)
    expected = float(sum(losses(log_probs.detach(), batch, rewards)) / N)
    assert objective.metrics(log_probs.detach(), batch)["loss"] == pytest.approx(expected)


def test_an_epoch_ends_early_where_the_log_probs_have_moved_by_more_than_the_clip_range(options, case):
    _, batch = case
    objective = options.OPTIONS["early-end"](CONFIG)
    objective.begin_epoch(batch, None, None)

    looks = [objective.look(batch.log_probs_old - move, batch) for move in (0.4, 0.6)]

    assert [look.ends_epoch for look in looks] == [False, True]
    assert all(look.is_best for look in looks)
    assert objective.heldout_rows(0, is_last=False) is None
    assert objective.heldout_rows(1, is_last=False).tolist() == list(range(N * K))


@pytest.mark.parametrize(("kl", "beta"), [(0.015 * 1.2, 2.0 * 1.2), (1.0, 3.0), (0.0, 2.0 / 1.5)])
def test_beta_follows_the_kl_to_the_reference(options, case, kl, beta):
    _, batch = case
    away = Batch(batch.log_probs_ref + kl, batch.log_probs_ref, batch.rewards, batch.prompt_index, batch.prompt_keys)
    objective = options.OPTIONS["target-kl"](CONFIG)

    objective.begin_epoch(away, None, None)

    resumed = options.OPTIONS["target-kl"](CONFIG)
    resumed.load_state_dict(objective.state_dict())
    assert resumed.reference_weight(T, 1) == pytest.approx(beta)


def test_prdp_weighs_rewards_leave_one_out_as_it_is(case):
    # So leave-one-out weights are no option: at the policy that sampled, with s = 0, a reward is compared with the
    # mean of the others of its prompt.
    _, batch = case
    at_start = Batch(batch.log_probs_old, batch.log_probs_old, batch.rewards, batch.prompt_index, batch.prompt_keys)

    g = Prdp(CONFIG).coefficients(at_start.log_probs_old, at_start)

    rewards = batch.rewards.view(N, K)
    others = (rewards.sum(dim=1, keepdim=True) - rewards) / (K - 1)
    expected = -4 / (K * T * CONFIG.kl_weight * N) * (rewards - others).reshape(-1, 1).expand(-1, T)
    np.testing.assert_allclose(g, expected, rtol=1e-10)
