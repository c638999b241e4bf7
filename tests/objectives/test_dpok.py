import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.distributions import Normal, kl_divergence

from reward_finetuning.config.sections.objective import DpokConfig
from reward_finetuning.diffusion.rollout import step_means
from reward_finetuning.objectives.cells import Denoisers
from reward_finetuning.objectives.dpok import Dpok, step_kl
from reward_finetuning.objectives.two_pass import backpropagate, replay
from reward_finetuning.records import Batch

MEAN_BASELINE = {"value_baseline": False, "reward_weight": 2.0, "clip_range": 0.05}


class SmallDenoiser:
    """A convolution that looks at x, t and the prompt."""

    def __init__(self, toy):
        self.kernel = (0.1 * toy.normal(2, 2, 3, 3)).requires_grad_()
        self.prompt = (0.1 * toy.normal(7, 2)).requires_grad_()
        self.calls = 0

    def __call__(self, x, t, prompts):
        self.calls += len(x)
        shift = prompts.embeddings.mean(dim=1) @ self.prompt + t[:, None] / 1000
        return torch.nn.functional.conv2d(x, self.kernel, padding=1) + shift[:, :, None, None]

    def gradient(self):
        parts = [weight.grad.flatten().clone() for weight in (self.kernel, self.prompt)]
        self.kernel.grad = self.prompt.grad = None
        return torch.cat(parts)


def independent_loss(policy, reference, toy, config):
    """Advantages from the epoch's mean, ratios and KL from torch.distributions, one cell at a time."""
    source, batch, (B, T) = toy.source, toy.batch, toy.source.shape
    total = torch.zeros((), dtype=torch.float64)
    for i in range(B):
        A = config.reward_weight * (batch.rewards[i] - batch.rewards.mean())
        embedding = source.prompts[source.prompt_index[i][None]]
        for t in range(T):
            args = source.latents[i, t][None], embedding, source.device_grid, torch.tensor([t])
            std = torch.tensor(source.grid.stds[t])
            now, ref = (Normal(step_means(net, *args)[0], std) for net in (policy, reference))
            w = torch.exp(now.log_prob(source.latents[i, t + 1]).mean() - batch.log_probs_old[i, t])
            total = total + torch.max(-A * w, -A * torch.clip(w, 1 - config.clip_range, 1 + config.clip_range))
            total = total + config.kl_weight * kl_divergence(now, ref).mean()
    return total / (B * T)


@pytest.fixture
def networks(toy):
    """A toy epoch drawn by a policy near the one in training, and a reference further off."""
    case = toy()
    policy, reference = SmallDenoiser(case), SmallDenoiser(case)
    exact = replay(policy, case.source, case.cells, 99, lambda _: None)
    case.batch = Batch(exact + 0.05 * case.normal(*exact.shape), exact, *[getattr(case.batch, name) for name in
                       ("rewards", "prompt_index", "prompt_keys")])  # fmt: skip
    return case, policy, reference


def gradient_of(objective, case, policy, reference, cells_per_batch):
    log_probs = replay(policy, case.source, case.cells, cells_per_batch, lambda _: None)
    objective.begin_update(0)
    backpropagate(
        objective, Denoisers(policy, reference=reference if objective.needs_reference else None), case.source,
        objective.coefficients(log_probs, case.batch), case.cells.flip(0), cells_per_batch,
        torch.Tensor.backward, lambda _: None,
    )  # fmt: skip
    return policy.gradient(), objective.metrics(log_probs, case.batch)


@pytest.mark.parametrize("kl_weight", [0.0, 0.01, 3.0])
@pytest.mark.parametrize("cells_per_batch", [1, 7, 24])
def test_gradient_and_loss_equal_autograd_through_a_small_denoiser(networks, kl_weight, cells_per_batch):
    case, policy, reference = networks
    config = DpokConfig(kl_weight=kl_weight, **MEAN_BASELINE)
    expected = independent_loss(policy, reference, case, config)
    expected.backward()
    autograd = policy.gradient()
    objective = Dpok(config)
    objective.begin_epoch(case.batch, case.source, None)

    gradient, metrics = gradient_of(objective, case, policy, reference, cells_per_batch)

    assert 0 < metrics["clip_fraction"] < 1, "the case must have clipped and unclipped cells"
    assert (gradient - autograd).norm() <= 1e-10 * autograd.norm()
    assert metrics["loss"] == pytest.approx(expected.item(), rel=1e-10)


def test_without_kl_the_reference_is_never_evaluated(networks):
    case, policy, reference = networks
    objective = Dpok(DpokConfig(kl_weight=0.0, **MEAN_BASELINE))
    objective.begin_epoch(case.batch, case.source, None)

    _, metrics = gradient_of(objective, case, policy, reference, 7)

    assert not objective.needs_reference
    assert reference.calls == 0
    assert "kl" not in metrics


def test_the_kl_of_a_step_and_its_gradient_worked_by_hand():
    # |3 - 1|^2 / (2 * 2^2) = 1/2 in each element; its gradient (3 - 1) / 2^2 / 4 elements = 1/8 in the mean over them.
    mean = torch.full((1, 1, 2, 2), 3.0, requires_grad=True)

    kl = step_kl(mean, torch.ones(1, 1, 2, 2), torch.tensor([2.0]))
    kl.sum().backward()

    assert kl.item() == pytest.approx(0.5)
    assert mean.grad.flatten().tolist() == pytest.approx([0.125] * 4)


def test_at_the_reference_the_kl_and_its_gradient_are_zero(networks):
    case, policy, _ = networks
    config = DpokConfig(kl_weight=5.0, **MEAN_BASELINE)
    with_kl, without = Dpok(config), Dpok(config.model_copy(update={"kl_weight": 0.0}))
    for objective in (with_kl, without):
        objective.begin_epoch(case.batch, case.source, None)

    gradient, metrics = gradient_of(with_kl, case, policy, policy, 7)
    plain, _ = gradient_of(without, case, policy, policy, 7)

    assert metrics["kl"] == 0.0
    torch.testing.assert_close(gradient, plain, rtol=1e-12, atol=1e-15)


def test_the_kl_of_an_update_does_not_carry_over_to_the_next(networks):
    case, policy, reference = networks
    objective = Dpok(DpokConfig(kl_weight=1.0, **MEAN_BASELINE))
    objective.begin_epoch(case.batch, case.source, None)

    first, second = (gradient_of(objective, case, policy, reference, 7)[1]["kl"] for _ in range(2))

    assert first == second > 0


@given(seed=st.integers(0, 1000), shift=st.integers(-64, 64))
@settings(max_examples=20, deadline=None)
def test_with_the_mean_as_baseline_adding_a_constant_to_all_rewards_changes_nothing(toy, seed, shift):
    case = toy(seed)
    batch = case.batch
    shifted = Batch(
        batch.log_probs_old, batch.log_probs_ref, batch.rewards + shift, batch.prompt_index, batch.prompt_keys
    )
    objective = Dpok(DpokConfig(**MEAN_BASELINE))
    found = []
    for each in (batch, shifted):
        objective.begin_epoch(each, case.source, None)
        found.append(objective.coefficients(batch.log_probs_ref, each))

    torch.testing.assert_close(found[0], found[1], rtol=1e-9, atol=1e-12)
