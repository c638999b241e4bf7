"""A weight that scales a loss does not scale what the optimizer sees (docs/decisions/0007): AdamW's epsilon and
max_grad_norm act alike at every weight."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_finetuning.config.sections.objective import DdpoConfig, DpokConfig, PpodConfig, PrdpConfig, RwrConfig
from reward_finetuning.objectives import build_objective

T, ELEMENTS = 4, 18
WEIGHTS = st.floats(1e-6, 1e4)


def gradient(config, world, rewards=None):
    """What is backpropagated at the reference, by the policy that drew the images: unit times dL/dlog_probs."""
    old = world.batch.log_probs_old
    batch = replace(world.batch, log_probs_ref=old, rewards=world.batch.rewards if rewards is None else rewards)
    objective = build_objective(config)
    objective.begin_epoch(batch, world.source, np.random.default_rng(0))
    objective.begin_update(0)
    return objective.gradient_unit(T, ELEMENTS) * objective.coefficients(old, batch)


def adam_step(coefficients):
    """AdamW's first step of weights whose gradient is the coefficients, cut at norm 1 as in training."""
    weight = torch.zeros_like(coefficients, requires_grad=True)
    weight.grad = coefficients.clone()
    torch.nn.utils.clip_grad_norm_([weight], 1.0)
    torch.optim.AdamW([weight], lr=1.0, eps=1e-8, weight_decay=0.0).step()
    return weight.detach()


@settings(deadline=None)
@given(WEIGHTS)
def test_prdps_beta_does_not_change_the_step_at_the_reference(toy, beta):
    world = toy(N=2, K=3, T=T)

    expected, found = (gradient(PrdpConfig(kl_weight=weight), world) for weight in (1.0, beta))

    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)
    torch.testing.assert_close(adam_step(found), adam_step(expected), rtol=1e-6, atol=0)


@pytest.mark.slow
@settings(deadline=None)
@pytest.mark.parametrize("loss", ["cross_entropy", "brier"])
@given(eta=WEIGHTS)
def test_ppods_eta_does_not_change_the_step_at_the_reference(toy, loss, eta):
    world = toy(N=2, K=3, T=T)

    expected, found = (
        gradient(PpodConfig(kl_weight=weight, loss=loss, convergence=None), world) for weight in (1.0, eta)
    )

    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-12)


@settings(deadline=None)
@given(st.floats(1e-2, 1e3), st.floats(-10, 10))
def test_the_unit_and_level_of_rewards_do_not_change_ddpo_and_the_best_share_of_rwr(toy, unit, level):
    world = toy(N=2, K=3, T=T)
    rewards = unit * world.batch.rewards + level
    ddpo = DdpoConfig(min_count=2)
    share = build_objective(RwrConfig(weighting="best_share", share=0.4))

    torch.testing.assert_close(gradient(ddpo, world, rewards), gradient(ddpo, world), rtol=1e-3, atol=1e-9)
    weights = []
    for each in (world.batch, replace(world.batch, rewards=rewards)):
        share.begin_epoch(each, world.source, np.random.default_rng(0))
        weights.append(share._weights.clone())
    torch.testing.assert_close(*weights)


def test_dpoks_reward_weight_is_a_scale_that_the_optimizer_sees(toy):
    """The exception: alpha is the paper's unit of rewards, and its KL is a cell_loss in that unit."""
    world = toy(N=2, K=3, T=T)

    small, large = (gradient(DpokConfig(reward_weight=alpha, value_baseline=False), world) for alpha in (1.0, 10.0))

    torch.testing.assert_close(large, 10 * small)
