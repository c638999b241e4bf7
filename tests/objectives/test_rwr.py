import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from reward_finetuning.config.sections.objective import RwrConfig
from reward_finetuning.diffusion.flow import flow_grid, flow_levels
from reward_finetuning.diffusion.flow_cps import flow_cps
from reward_finetuning.objectives.cells import Denoisers
from reward_finetuning.objectives.rwr import Rwr, best_share_weights, softmax_weights
from reward_finetuning.objectives.two_pass import backpropagate
from reward_finetuning.records import Batch


class Recorder:
    """A denoiser of one weight, eps = theta x, that remembers what it was asked."""

    def __init__(self, theta=0.3):
        self.theta = torch.tensor(theta, dtype=torch.float64, requires_grad=True)
        self.seen = []

    def __call__(self, x, t, prompts):
        self.seen += list(zip(x.detach(), t.tolist(), prompts.embeddings, strict=True))
        return self.theta * x


def never(x, t, prompts):
    pytest.fail("evaluated the guided policy")


def run_update(objective, case, denoise, *, update=0, cells_per_batch=5, order=None):
    order = case.source.of_images(objective.begin_update(update), case.cells if order is None else order)
    backpropagate(
        objective, Denoisers(never, unguided=denoise), case.source,
        objective.coefficients(case.batch.log_probs_old, case.batch), order, cells_per_batch,
        torch.Tensor.backward, lambda _: None,
    )  # fmt: skip
    return order


def begun(case, epoch=0, **changes):
    objective = Rwr(RwrConfig(**changes))
    objective.begin_epoch(case.batch, case.source, np.random.default_rng(epoch))
    return objective


def noise_of(case, recorder, order):
    """The noise of each cell, recovered from what the denoiser saw: flat cell -> [C, H, W]."""
    T, found = case.source.shape[1], {}
    for cell, (x, *_) in zip(order.tolist(), recorder.seen, strict=True):
        a = np.float64(case.source.grid.levels[cell % T])
        found[cell] = (x - np.sqrt(a) * case.source.latents[cell // T, -1]) / np.sqrt(1 - a)
    return found


def hand_weights(case, among, temperature):
    r = case.batch.rewards.tolist()
    groups = [range(len(r))] if among == "epoch" else [range(3), range(3, 6)]
    weights = [0.0] * len(r)
    for group in groups:
        total = sum(math.exp(r[i] / temperature) for i in group)
        for i in group:
            weights[i] = math.exp(r[i] / temperature) / total / len(groups)
    return weights


@pytest.mark.parametrize("among", ["prompt", "epoch"])
@pytest.mark.parametrize("cells_per_batch", [1, 5, 24])
def test_loss_and_gradient_equal_autograd_one_cell_at_a_time(toy, among, cells_per_batch):
    case, recorder = toy(), Recorder()
    objective = begun(case, among=among, temperature=0.7)

    order = run_update(objective, case, recorder, cells_per_batch=cells_per_batch)

    theta = torch.tensor(0.3, dtype=torch.float64, requires_grad=True)
    loss, T = torch.zeros((), dtype=torch.float64), 4
    weights = hand_weights(case, among, 0.7)
    for cell, e in noise_of(case, recorder, order).items():
        i, t = divmod(cell, T)
        a = case.source.grid.levels[t]
        x = math.sqrt(a) * case.source.latents[i, T] + math.sqrt(1 - a) * e
        loss = loss + weights[i] / T * sum((e_j - theta * x_j) ** 2 for e_j, x_j in zip(
            e.flatten(), x.flatten(), strict=True)) / e.numel()  # fmt: skip
    loss.backward()
    assert objective.metrics(None, case.batch)["loss"] == pytest.approx(loss.item(), rel=1e-9)
    assert recorder.theta.grad.item() == pytest.approx(theta.grad.item(), rel=1e-9)


def test_of_a_flow_model_it_is_the_flow_matching_loss_at_the_stored_x_0(toy):
    levels = flow_levels(6, shift=3.0)
    grid = flow_grid(levels, flow_cps(levels, eta=0.7), window=(0, 4)).stochastic_part()
    case, recorder = toy(), Recorder()
    case.source = replace(case.source, grid=grid, x_0=case.normal(6, 2, 3, 3))
    objective = begun(case, among="epoch", temperature=0.7)

    order = run_update(objective, case, recorder)

    expected, weights = 0.0, hand_weights(case, "epoch", 0.7)
    for cell, (x, time, _) in zip(order.tolist(), recorder.seen, strict=True):
        i, t = divmod(cell, 4)
        s, x_0 = levels[t], case.source.x_0[i]
        e = (x - (1 - s) * x_0) / s
        expected += weights[i] / 4 * float((e - x_0 - 0.3 * x).square().mean())
        assert time == pytest.approx(1000 * s)
    assert objective.metrics(None, case.batch)["loss"] == pytest.approx(expected, rel=1e-9)


def test_each_cell_is_shown_its_own_timestep_and_prompt(toy):
    case, recorder = toy(), Recorder()

    order = run_update(begun(case), case, recorder)

    for cell, (_, t, embedding) in zip(order.tolist(), recorder.seen, strict=True):
        assert t == case.source.grid.timesteps[cell % 4]
        assert torch.equal(embedding, case.source.prompts.embeddings[case.source.prompt_index[cell // 4]])


def test_a_cells_noise_depends_on_neither_batch_nor_order(toy):
    case = toy()
    plain, shuffled = Recorder(), Recorder()
    order = case.cells[torch.randperm(24, generator=torch.Generator().manual_seed(0))]

    first = noise_of(case, plain, run_update(begun(case), case, plain, cells_per_batch=5))
    again = noise_of(case, shuffled, run_update(begun(case), case, shuffled, cells_per_batch=7, order=order))

    assert all(torch.equal(first[cell], again[cell]) for cell in range(24))


def test_noise_is_standard_normal_and_differs_between_cells_updates_and_epochs(toy):
    case = toy(N=4, K=30)
    draws = []
    for epoch, update in ((0, 0), (0, 1), (1, 0)):
        recorder = Recorder()
        order = run_update(begun(case, epoch), case, recorder, update=update)
        draws.append(torch.stack(list(noise_of(case, recorder, order).values())))
    every = torch.cat(draws).flatten(1)

    assert len(torch.unique(every.round(decimals=4), dim=0)) == 3 * 480
    assert every.mean().abs() < 4 / math.sqrt(every.numel())
    assert (every.var() - 1).abs() < 4 * math.sqrt(2 / every.numel())


def test_softmax_worked_by_hand():
    # exp(0), exp(log 3): 1/4 and 3/4.
    weights = softmax_weights(torch.tensor([1.0, 1.0 + 0.5 * math.log(3)]), temperature=0.5)

    assert weights.tolist() == pytest.approx([0.25, 0.75], rel=1e-6)


@pytest.mark.parametrize(
    ("rewards", "share", "expected"),
    [
        ([1.0, 4.0, 3.0, 2.0], 0.5, [0, 1 / 2, 1 / 2, 0]),
        ([1.0, 4.0, 3.0, 2.0], 0.01, [0, 1, 0, 0]),
        ([5.0, 1.0, 1.0, 1.0], 0.5, [1 / 2, 1 / 6, 1 / 6, 1 / 6]),  # one place is left for three
        ([2.0, 2.0, 2.0, 2.0], 0.25, [1 / 4] * 4),
    ],
)
def test_the_best_share_worked_by_hand(rewards, share, expected):
    assert best_share_weights(torch.tensor(rewards), share=share).tolist() == pytest.approx(expected, rel=1e-12)


rewards_strategy = st.lists(st.integers(-8, 8), min_size=1, max_size=12)


@given(rewards=rewards_strategy, shift=st.integers(-64, 64), share=st.floats(0.01, 0.99), seed=st.integers(0, 99))
@settings(max_examples=60, deadline=None)
def test_weights_sum_to_one_follow_their_images_and_ignore_a_constant(rewards, shift, share, seed):
    r = torch.tensor(rewards, dtype=torch.float64)
    order = torch.randperm(len(r), generator=torch.Generator().manual_seed(seed))
    for weigh in (lambda r: softmax_weights(r, temperature=0.5), lambda r: best_share_weights(r, share=share)):
        weights = weigh(r)

        assert float(weights.sum()) == pytest.approx(1.0, rel=1e-12)
        assert (weights >= 0).all()
        torch.testing.assert_close(weigh(r[order]), weights[order], rtol=1e-12, atol=0.0)
        torch.testing.assert_close(weigh(r + shift), weights, rtol=1e-12, atol=0.0)


def test_images_of_weight_zero_cost_no_forward_pass(toy):
    case, recorder = toy(), Recorder()
    case.batch = Batch(*[getattr(case.batch, name) for name in ("log_probs_old", "log_probs_ref")],
                       torch.tensor([0.0, 1.0, 0.5, 3.0, 2.0, 1.0]), *[getattr(case.batch, name) for name in
                       ("prompt_index", "prompt_keys")])  # fmt: skip
    objective = begun(case, weighting="best_share", share=0.34)

    order = run_update(objective, case, recorder)

    assert len(recorder.seen) == 8
    assert set((order // 4).tolist()) == {1, 3}
    metrics = objective.metrics(None, case.batch)
    assert metrics["effective_sample_size"] == metrics["weighted_images"] == 2.0


def test_equal_rewards_are_plain_finetuning_on_all_images(toy):
    case = toy()
    case.batch.rewards.fill_(0.3)

    objective = begun(case)

    assert len(objective.begin_update(0)) == 6
    assert objective.metrics(None, case.batch)["effective_sample_size"] == pytest.approx(6.0, rel=1e-12)


def test_a_third_epoch_after_a_restart_equals_the_uninterrupted_one_bit_for_bit(toy):
    cases = [toy(seed) for seed in range(3)]
    whole, resumed = Rwr(RwrConfig()), Rwr(RwrConfig())
    for epoch, case in enumerate(cases[:2]):
        whole.begin_epoch(case.batch, case.source, np.random.default_rng(epoch))
        run_update(whole, case, Recorder())

    resumed.load_state_dict(whole.state_dict())

    gradients = []
    for objective in (whole, resumed):
        recorder = Recorder()
        objective.begin_epoch(cases[2].batch, cases[2].source, np.random.default_rng(2))
        run_update(objective, cases[2], recorder)
        gradients.append(recorder.theta.grad)
    assert torch.equal(*gradients)
