import gc
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.objective import DdpoConfig, DpokConfig, PpodConfig, PrdpConfig, RwrConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.diffusion import gaussian
from reward_finetuning.diffusion.rollout import draw, step_means
from reward_finetuning.objectives.cells import CellSource, Denoisers
from reward_finetuning.objectives.ddpo import Ddpo
from reward_finetuning.objectives.dpok import Dpok
from reward_finetuning.objectives.noise_floor import NoiseFloor
from reward_finetuning.objectives.one_pass import backpropagate_once, one_pass_size, whole_prompts
from reward_finetuning.objectives.ppod import Ppod
from reward_finetuning.objectives.prdp import Prdp, prdp_loss
from reward_finetuning.objectives.rwr import Rwr
from reward_finetuning.objectives.two_pass import backpropagate, fewer, replay
from reward_finetuning.policy.load import load_policy
from reward_finetuning.records import Batch

PROMPTS = ["a red circle", "two blue squares"]
K, T = 3, 3
SETTINGS = PrdpConfig(kl_weight=1e-3, clip_range=2e-3)


class Case:
    """The built-in model after one perturbation of its weights, and rollouts of what it was before."""

    def __init__(self, dtype):
        self.policy = load_policy(ModelConfig(), SamplingConfig(num_steps=T, guidance_scale=3.0), seed=0)
        self.policy.network.to(dtype)
        g = torch.Generator().manual_seed(0)
        self.policy.pipeline.text_encoder.to(dtype)  # before anything is encoded
        prompts = self.policy.encode(PROMPTS)
        prompt_index = torch.arange(2).repeat_interleave(K)
        self.denoise = self.policy.denoiser()
        noise = torch.randn(2 * K, T + 1, *self.policy.latent_shape, generator=g)
        old = self._draw(noise, prompts[prompt_index], dtype)
        with torch.no_grad():
            for weight in self.policy.trainable().values():
                weight.add_(3e-4 * torch.randn(weight.shape, generator=g).to(dtype))
        reference = old.log_probs + 1e-3 * torch.randn(old.log_probs.shape, generator=g)
        rewards = torch.rand(2 * K, generator=g, dtype=torch.float64)
        self.batch = Batch(old.log_probs, reference, rewards, prompt_index, prompt_index)
        self.source = CellSource(old.latents, prompts, prompt_index, self.policy.grid, torch.device("cpu"), dtype)

    def _draw(self, noise, prompts, dtype):
        def denoise(x, t, c):
            return self.denoise(x.to(dtype), t, c).to(x.dtype)

        return draw(denoise, None, noise, prompts, self.policy.grid)

    def gradient(self):
        parts = [weight.grad.flatten().double() for weight in self.policy.trainable().values()]
        self.policy.network.zero_grad()
        return torch.cat(parts)

    def full_graph(self):
        """All cells in one graph, the loss differentiated by autograd."""
        latents = self.source.latents.to(self.source.dtype)
        columns = []
        for step in range(T):
            steps = torch.full((2 * K,), step)
            mean = step_means(
                self.denoise,
                latents[:, step],
                self.source.prompts[self.source.prompt_index],
                self.source.device_grid,
                steps,
            )
            columns.append(gaussian.log_prob(latents[:, step + 1], mean, self.source.device_grid.stds[steps]))
        log_probs = torch.stack(columns, dim=1)
        losses = [
            prdp_loss(
                log_probs[rows], self.batch.log_probs_old[rows], self.batch.log_probs_ref[rows],
                self.batch.rewards[rows], clip_range=SETTINGS.clip_range, kl_weight=SETTINGS.kl_weight,
            )
            for rows in (torch.arange(K), torch.arange(K, 2 * K))
        ]  # fmt: skip
        (sum(losses) / 2).backward()
        return self.gradient(), log_probs.detach()

    def two_pass(self, cells_per_batch):
        order = torch.randperm(2 * K * T, generator=torch.Generator().manual_seed(1))
        log_probs = replay(self.denoise, self.source, order, cells_per_batch, lambda _: None)
        objective = Prdp(SETTINGS)
        g = objective.coefficients(log_probs, self.batch)
        backpropagate(
            objective,
            Denoisers(self.denoise),
            self.source,
            g,
            order,
            cells_per_batch,
            torch.Tensor.backward,
            lambda _: None,
        )
        return self.gradient(), log_probs


@pytest.fixture(scope="module", params=[(torch.float64, 1e-10), (torch.float32, 1e-4)], ids=["float64", "float32"])
def case(request):
    dtype, tolerance = request.param
    built = Case(dtype)
    return built, tolerance, *built.full_graph()


@pytest.mark.slow
@pytest.mark.parametrize("cells_per_batch", [1, 7, 2 * K * T])
def test_two_passes_give_the_gradient_of_the_full_graph(case, cells_per_batch):
    built, tolerance, expected, log_probs = case
    moved = (log_probs - built.batch.log_probs_old).abs() > SETTINGS.clip_range
    assert 0 < moved.double().mean() < 1, "the case must have clipped and unclipped cells"

    gradient, replayed = built.two_pass(cells_per_batch)

    assert (gradient - expected).norm() <= tolerance * expected.norm()
    torch.testing.assert_close(replayed, log_probs, rtol=0, atol=1e-5)


def test_an_objectives_own_term_is_added_to_the_gradient(case):
    built, tolerance, *_ = case

    class WithOwnTerm(Prdp):
        has_cell_loss = True

        def cell_loss(self, cells):
            assert cells.x_0.shape == cells.x_t.shape == cells.mean.shape
            return 5.0 * gaussian.log_prob(cells.x_t, cells.mean, cells.std).sum()

    order = torch.arange(2 * K * T)
    zero = torch.zeros(2 * K, T, dtype=torch.float64)
    gradients = []
    for cells_per_batch in (4, 18):
        backpropagate(
            WithOwnTerm(SETTINGS), Denoisers(built.denoise), built.source, zero, order, cells_per_batch,
            torch.Tensor.backward, lambda _: None,
        )  # fmt: skip
        gradients.append(built.gradient())

    assert gradients[0].norm() > 0
    assert (gradients[0] - gradients[1]).norm() <= tolerance * gradients[0].norm()


@pytest.mark.slow
@pytest.mark.parametrize(
    "objective",
    [
        Ddpo(DdpoConfig(clip_range=SETTINGS.clip_range)),
        Dpok(DpokConfig(clip_range=SETTINGS.clip_range, kl_weight=0.5, value_baseline=False)),
    ],
    ids=["ddpo", "dpok"],
)
def test_one_pass_gives_the_gradient_of_two_passes(case, objective):
    check_one_pass(case, objective, cells_per_batch=7)


STOPPED = {"none": lambda g: g != g, "right": lambda g: g == 0, "wrong": lambda g: g != 0, "all": lambda g: g == g}
"""Which cells are expected to be stopped, from the coefficients that they have."""


@pytest.mark.slow
@pytest.mark.parametrize("expectation", STOPPED.values(), ids=STOPPED)
def test_cells_that_are_expected_to_be_stopped_take_no_backward_pass_unless_they_have_a_gradient(case, expectation):
    check_one_pass(case, Ddpo(DdpoConfig(clip_range=SETTINGS.clip_range)), cells_per_batch=7, expectation=expectation)


def check_one_pass(case, objective, cells_per_batch, expectation=STOPPED["none"]):
    built, tolerance, *_ = case
    rows = {True: [], False: []}

    def counted(x, t, prompts):
        rows[torch.is_grad_enabled()].append(len(x))
        return built.denoise(x, t, prompts)

    networks = Denoisers(counted, reference=lambda x, t, prompts: x)
    order = torch.randperm(2 * K * T, generator=torch.Generator().manual_seed(1))
    objective.begin_epoch(built.batch, built.source, np.random.default_rng(0))
    order = built.source.of_images(objective.begin_update(1), order)
    arguments = (order, cells_per_batch, torch.Tensor.backward, lambda _: None)
    log_probs = replay(built.denoise, built.source, order, cells_per_batch, lambda _: None)
    g = objective.coefficients(log_probs, built.batch)
    moved = (log_probs - built.batch.log_probs_old).abs() > SETTINGS.clip_range
    assert 0 < moved.sum() < g.numel(), "the case must have clipped and unclipped cells"
    g *= objective.gradient_unit(T, built.source.num_elements)
    backpropagate(objective, Denoisers(built.denoise, reference=networks.reference), built.source, g, *arguments)
    expected, metrics = built.gradient(), objective.metrics(log_probs, built.batch)

    if objective.has_cell_loss:
        objective.begin_update(1)  # it forgets what it has counted
    stopped = expectation(g.view(-1))
    evaluated = backpropagate_once(objective, networks, built.source, built.batch, *arguments, stopped=stopped)
    idle = order[stopped[order]]
    assert sum(rows[False]) == len(idle)
    assert sum(rows[True]) == len(order) - len(idle)
    assert max(rows[True] + rows[False]) <= cells_per_batch
    if len(idle):  # as the updates of an epoch do
        backpropagate(objective, networks, built.source, g, idle, *arguments[1:])
        late = int((g.view(-1)[idle] != 0).sum())
        assert sum(rows[True]) == len(order) - len(idle) + late

    gradient = built.gradient()
    assert (gradient - expected).norm() <= tolerance * expected.norm()
    assert objective.metrics(evaluated, built.batch) == pytest.approx(metrics, rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("cells_per_batch", [K * T, 2 * K * T - 1, 2 * K * T])
@pytest.mark.parametrize(
    "objective",
    [
        Prdp(SETTINGS),
        Ppod(PpodConfig(clip_range=SETTINGS.clip_range, kl_weight=300.0, pairs_per_update=5)),
        Ppod(PpodConfig(clip_range=SETTINGS.clip_range, kl_weight=300.0, pairs_per_update=1)),
    ],
    ids=["prdp", "ppod", "ppod-one-prompt"],
)
@pytest.mark.parametrize("expectation", STOPPED.values(), ids=STOPPED)
def test_one_pass_over_whole_prompts_gives_the_gradient_of_two_passes(case, objective, cells_per_batch, expectation):
    assert one_pass_size(objective, case[0].batch.prompt_index, T, cells_per_batch) is not None
    check_one_pass(case, objective, cells_per_batch, expectation)


def test_one_pass_of_prdp_gives_the_gradient_of_the_full_graph(case):
    built, tolerance, expected, log_probs = case
    order = torch.randperm(2 * K * T, generator=torch.Generator().manual_seed(1))
    objective, networks = Prdp(SETTINGS), Denoisers(built.denoise)

    evaluated = backpropagate_once(
        objective, networks, built.source, built.batch, order, K * T, torch.Tensor.backward, lambda _: None
    )

    unit = objective.gradient_unit(T, built.source.num_elements)
    assert (built.gradient() - unit * expected).norm() <= tolerance * unit * expected.norm()
    torch.testing.assert_close(evaluated, log_probs, rtol=0, atol=1e-5)


@pytest.mark.parametrize(("cells_per_batch", "size"), [(K * T - 1, None), (K * T, K * T), (3 * K * T - 1, 2 * K * T)])
def test_a_batch_of_one_pass_holds_whole_prompts_and_one_that_does_not_fit_takes_two_passes(cells_per_batch, size):
    prompt_index = torch.tensor([4, 4, *[7] * K])

    assert one_pass_size(Prdp(SETTINGS), prompt_index, T, cells_per_batch) == size
    assert one_pass_size(Ddpo(DdpoConfig()), prompt_index, T, 1) == 1
    assert one_pass_size(Rwr(RwrConfig()), prompt_index, T, cells_per_batch) is None


@given(st.lists(st.integers(0, 5), min_size=1, max_size=30), st.integers(1, 4), st.integers(1, 40), st.randoms())
def test_batches_of_whole_prompts_hold_every_cell_once(prompt_index, num_steps, cells_per_batch, random):
    index = torch.tensor(prompt_index)
    rows = [0, *(row for row in range(1, len(prompt_index)) if random.random() < 0.8)]
    cells = [row * num_steps + step for row in rows for step in range(num_steps)]
    random.shuffle(cells)

    batches = whole_prompts(torch.tensor(cells), index, num_steps, cells_per_batch)

    assert sorted(torch.cat(batches).tolist()) == sorted(cells)
    prompts = [set(index[batch // num_steps].tolist()) for batch in batches]
    assert sum(map(len, prompts)) == len(set(index[rows].tolist())), "a prompt is in one batch"
    assert all(len(batch) <= cells_per_batch or len(of) == 1 for batch, of in zip(batches, prompts, strict=True))
    assert int(index[cells[0] // num_steps]) in prompts[0]


def test_cells_without_a_coefficient_cost_no_forward_pass():
    calls = []

    def denoise(x, t, prompts):
        calls.append(len(x))
        return x * weight

    weight = torch.ones(1, requires_grad=True)
    built = Case(torch.float32)
    g = torch.zeros(2 * K, T, dtype=torch.float64)
    g[1, 2] = 1.0
    done = []

    backpropagate(
        Prdp(SETTINGS),
        Denoisers(denoise),
        built.source,
        g,
        torch.arange(2 * K * T),
        4,
        torch.Tensor.backward,
        done.append,
    )

    assert calls == [1]
    assert sum(done) == 2 * K * T


@given(st.lists(st.booleans(), max_size=40), st.integers(1, 12))
def test_cells_fill_batches_from_those_that_would_be_left_out(left_out, multiple):
    given = torch.tensor(left_out, dtype=torch.bool)

    filled = fewer(given, multiple)

    assert not (filled & ~given).any()
    kept = int((~filled).sum())
    assert kept % multiple == 0 or not filled.any()
    assert kept - int((~given).sum()) < multiple
    assert given.tolist() == left_out


class CountedLatents:
    """Latents that record how many items each request reads."""

    def __init__(self, latents):
        self.shape, self.requests, self._latents = latents.shape, [], latents

    def __getitem__(self, index):
        items = self._latents[index]
        self.requests.append(len(items))
        return items


@pytest.mark.slow
def test_no_tensor_of_a_batch_outlives_it():
    # Small tensors that stay between large ones keep the allocator from joining what was freed: memory grew with T.
    built = Case(torch.float32)
    weight = torch.ones(1, requires_grad=True)
    alive = []

    def backward(loss):
        loss.backward()
        gc.collect()
        alive.append(sum(isinstance(each, torch.Tensor) for each in gc.get_objects()))

    g = torch.ones(2 * K, T, dtype=torch.float64)
    networks = Denoisers(lambda x, t, prompts: x * weight)
    backpropagate(Prdp(SETTINGS), networks, built.source, g, torch.arange(2 * K * T), 3, backward, lambda _: None)

    assert len(alive) == 2 * K * T / 3
    assert alive[1] == alive[-1]


@pytest.mark.parametrize("update", [backpropagate, backpropagate_once], ids=["two passes", "one pass"])
def test_an_epoch_reads_latents_a_batch_at_a_time(toy, update):
    case, weight = toy(), torch.ones((), dtype=torch.float64, requires_grad=True)
    latents = CountedLatents(case.source.latents)
    source, networks = replace(case.source, latents=latents), Denoisers(lambda x, t, prompts: weight * x)
    objective = Ddpo(DdpoConfig(clip_range=1e9, min_count=2))
    objective.begin_epoch(case.batch, source, np.random.default_rng(0))
    arguments = (case.cells, 4, torch.Tensor.backward, lambda _: None)

    log_probs = replay(networks.policy, source, case.cells, 4, lambda _: None)
    if update is backpropagate:
        backpropagate(objective, networks, source, objective.coefficients(log_probs, case.batch), *arguments)
    else:
        backpropagate_once(objective, networks, source, case.batch, *arguments)

    assert weight.grad is not None
    assert max(latents.requests) == 4


@pytest.mark.parametrize("T", [4, 8])
@pytest.mark.parametrize("cells_per_batch", [4, 24])
def test_training_copies_its_grid_to_the_device_once_an_epoch(toy, transfers, T, cells_per_batch):
    case, weight = toy(T=T), torch.ones((), dtype=torch.float64, requires_grad=True)
    objective, networks = Prdp(SETTINGS), Denoisers(lambda x, t, prompts: weight * x)

    with transfers() as count:
        source = replace(case.source)  # as an epoch makes it
        log_probs = replay(networks.policy, source, case.cells, cells_per_batch, lambda _: None)
        g = torch.ones_like(log_probs)
        arguments = (g, case.cells, cells_per_batch, torch.Tensor.backward, lambda _: None)
        backpropagate(objective, networks, source, *arguments)

    assert count["tables"] == 5


def test_the_noise_floor_is_what_evaluated_log_probs_differ_by_at_the_cells_that_were_evaluated():
    stored = torch.arange(6.0).view(2, 3)
    evaluated = torch.tensor([[0.01, float("nan"), 2.0], [3.5, 4.0, float("nan")]])

    floor = NoiseFloor.of(evaluated, stored, torch.tensor([3, 0, 2, 4]), clip_range=0.1)

    assert floor.max_gap == pytest.approx(0.5)
    assert floor.clipped_share == pytest.approx(1 / 4)


@pytest.mark.parametrize(
    ("gap", "expected"), [(0.0, None), (0.09e-4, None), (0.2e-4, "warn"), (0.6e-4, "fail"), (float("nan"), "fail")]
)
def test_the_gate_warns_above_a_tenth_and_fails_above_half_the_clip_range(gap, expected):
    assert NoiseFloor(gap, 0.0).verdict(1e-4) == expected


def test_without_clipping_noise_never_fails():
    assert NoiseFloor(1e3, 0.0).verdict(float("inf")) is None
