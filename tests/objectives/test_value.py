import itertools
import math

import numpy as np
import pytest
import torch
from safetensors.torch import load, save

from reward_finetuning.config.sections.objective import DpokConfig
from reward_finetuning.objectives.dpok import Dpok
from reward_finetuning.objectives.value import ValueNetwork


def network(passes=30, **changes):
    return ValueNetwork(**{"hidden": 16, "learning_rate": 1e-2, "passes": passes} | changes)


def rng(epoch=0):
    return np.random.default_rng(epoch)


def test_in_the_first_epoch_the_value_is_the_mean_reward(toy):
    case = toy()

    values, _ = network().baseline(case.source, case.batch.rewards, rng())

    torch.testing.assert_close(values, case.batch.rewards.mean().expand(6, 4), rtol=1e-6, atol=1e-6)


def test_an_epochs_rewards_do_not_change_the_value_that_they_are_compared_with(toy):
    first, second = toy(0), toy(1)
    found = []
    for rewards in (second.batch.rewards, second.batch.rewards * -7 + 3):
        value = network()
        value.baseline(first.source, first.batch.rewards, rng())
        found.append(value.baseline(second.source, rewards, rng(1))[0])

    assert torch.equal(found[0], found[1])


def test_it_learns_what_trajectories_tell_of_their_reward(toy):
    train, test = toy(0, N=4, K=24), toy(1, N=4, K=24)
    value = network(passes=60)
    told = [5 + case.normal(96) for case in (train, test)]
    for case, rewards in zip((train, test), told, strict=True):
        case.source.latents.add_(rewards[:, None, None, None, None] - 5)

    _, fitted = value.baseline(train.source, told[0], rng())
    values, _ = value.baseline(test.source, told[1], rng(1))

    assert fitted < 0.1 * told[0].var()
    assert ((values - told[1][:, None]) ** 2).mean() < 0.5 * told[1].var()


def test_it_is_a_perceptron_of_latent_sinusoids_of_the_timestep_and_the_mean_token(toy):
    first, second = toy(0), toy(1)
    value = network()
    value.baseline(first.source, first.batch.rewards, rng())
    weights = value.state_dict()
    values, _ = value.baseline(second.source, second.batch.rewards, rng(1))

    for i, step in itertools.product(range(6), range(4)):
        t = int(second.source.grid.timesteps[step])
        angles = [t / 10_000 ** (k / 16) for k in range(16)]
        tokens = second.source.prompts.embeddings[second.source.prompt_index[i]]
        sinusoids = [math.sin(a) for a in angles] + [math.cos(a) for a in angles]
        h = torch.cat([second.source.latents[i, step].flatten(), torch.tensor(sinusoids), tokens.sum(dim=0) / 5])
        for layer in ("hidden_1", "hidden_2", "output"):
            h = weights[f"{layer}.weight"].double() @ h.double() + weights[f"{layer}.bias"]
            h = h if layer == "output" else h * torch.sigmoid(h)
        assert values[i, step].item() == pytest.approx(h.item(), abs=1e-4)


def test_the_first_adam_step_worked_by_hand(toy):
    # At the start only the last layer has a gradient: hidden units see the output's weights of 0. Adam's first step is
    # the learning rate in the gradient's direction: with targets above the value, the bias goes up by exactly that.
    case = toy()
    value = network(passes=1)
    value.load_state_dict(_zero_state(case, hidden=16))

    value.baseline(case.source, torch.ones(6), rng())

    state = value.state_dict()
    assert state["output.bias"].item() == pytest.approx(1e-2, rel=1e-5)
    assert not state["hidden_1.weight"].any()
    assert state["adam/output.bias/step"].item() == 1.0


def _zero_state(case, hidden):
    value = network(hidden=hidden)
    value.baseline(case.source, case.batch.rewards, rng())
    return {name: torch.zeros_like(w) for name, w in value.state_dict().items() if not name.startswith("adam/")}


def test_the_global_generator_is_left_alone(toy):
    case = toy()
    torch.manual_seed(5)
    state = torch.random.get_rng_state()

    network().baseline(case.source, case.batch.rewards, rng())

    assert torch.equal(torch.random.get_rng_state(), state)


def test_dpok_subtracts_it_from_the_weighted_reward(toy):
    first, second = toy(0), toy(1)
    settings = {"hidden": 8, "learning_rate": 1e-2, "passes": 5}
    value = ValueNetwork(**settings)
    value.baseline(first.source, 3.0 * first.batch.rewards, rng())
    expected, loss = value.baseline(second.source, 3.0 * second.batch.rewards, rng(1))

    objective = Dpok(DpokConfig(reward_weight=3.0, value_hidden=8, value_learning_rate=1e-2, value_updates=5))
    objective.begin_epoch(first.batch, first.source, rng())
    objective.begin_epoch(second.batch, second.source, rng(1))

    old = second.batch.log_probs_old  # there the ratio is 1: g = -A / (B T)
    advantages = -objective.coefficients(old, second.batch) * 24
    torch.testing.assert_close(advantages, 3.0 * second.batch.rewards[:, None] - expected, rtol=1e-12, atol=1e-12)
    metrics = objective.metrics(old, second.batch)
    assert metrics["value_loss"] == loss
    rewards = 3.0 * second.batch.rewards
    unexplained = ((rewards[:, None] - expected) ** 2).mean() / ((rewards - rewards.mean()) ** 2).mean()
    assert metrics["value_explained_variance"] == pytest.approx(1 - float(unexplained), rel=1e-9)


def test_a_third_epoch_after_a_restart_equals_the_uninterrupted_one_bit_for_bit(toy):
    config = DpokConfig(value_updates=3)
    cases = [toy(seed) for seed in range(3)]
    whole, resumed, momentless = Dpok(config), Dpok(config), Dpok(config)
    for epoch, case in enumerate(cases[:2]):
        whole.begin_epoch(case.batch, case.source, rng(epoch))
    saved = save(whole.state_dict())

    resumed.load_state_dict(load(saved))
    momentless.load_state_dict({name: w for name, w in load(saved).items() if not name.startswith("adam/")})

    for each in (whole, resumed, momentless):
        each.begin_epoch(cases[2].batch, cases[2].source, rng(2))
    g, again = (each.coefficients(cases[2].batch.log_probs_ref, cases[2].batch) for each in (whole, resumed))
    assert torch.equal(g, again)
    assert save(whole.state_dict()) == save(resumed.state_dict())
    assert save(whole.state_dict()) != save(momentless.state_dict())
