import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from reward_finetuning.config.sections.objective import DdpoConfig
from reward_finetuning.objectives.ddpo import Ddpo
from reward_finetuning.records import Batch


def batch_of(seed, *, keys=(1, 1, 1, 1, 2, 2, 2, 2), T=3):
    g = torch.Generator().manual_seed(seed)
    keys = torch.tensor(keys)
    old = torch.randn(len(keys), T, generator=g, dtype=torch.float64)
    rewards = torch.randn(len(keys), generator=g, dtype=torch.float64)
    return Batch(old, old, rewards, torch.unique(keys, return_inverse=True)[1], keys)


def moved(batch, spread, seed=0):
    noise = torch.randn(batch.log_probs_old.shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)
    return batch.log_probs_old + spread * noise


def begun(objective, *batches):
    for batch in batches:
        objective.begin_epoch(batch, None, None)
    return objective


def independent_loss(log_probs, batch, history, config):
    """DDPO-IS as the paper says it, one image and step at a time."""
    total = torch.zeros((), dtype=torch.float64)
    for i, key in enumerate(batch.prompt_keys.tolist()):
        known = torch.tensor(history[key][-config.buffer_size :], dtype=torch.float64)
        among = known if config.per_prompt_normalisation and len(known) >= config.min_count else batch.rewards
        A = (batch.rewards[i] - among.mean()) / (((among - among.mean()) ** 2).mean().sqrt() + 1e-6)
        A = min(max(float(A), -config.max_advantage), config.max_advantage)
        for t in range(log_probs.shape[1]):
            w = torch.exp(log_probs[i, t] - batch.log_probs_old[i, t])
            total = total + torch.maximum(-A * w, -A * torch.clip(w, 1 - config.clip_range, 1 + config.clip_range))
    return total / log_probs.numel()


@pytest.mark.parametrize("per_prompt", [True, False])
@pytest.mark.parametrize("seed", range(3))
def test_gradient_and_loss_equal_autograd_of_the_paper_written_out(seed, per_prompt):
    config = DdpoConfig(
        clip_range=0.1, buffer_size=6, min_count=5, max_advantage=1.5, per_prompt_normalisation=per_prompt
    )
    epochs = [batch_of(seed), batch_of(seed + 50, keys=(2, 2, 3, 1, 1, 2, 3, 2))]
    history = {1: [], 2: [], 3: []}
    for epoch in epochs:
        for key, reward in zip(epoch.prompt_keys.tolist(), epoch.rewards.tolist(), strict=True):
            history[key].append(reward)
    log_probs = moved(epochs[1], 0.2)
    leaf = log_probs.clone().requires_grad_()
    objective = begun(Ddpo(config), *epochs)

    expected = independent_loss(leaf, epochs[1], history, config)
    expected.backward()

    torch.testing.assert_close(objective.coefficients(log_probs, epochs[1]), leaf.grad, rtol=1e-9, atol=1e-15)
    metrics = objective.metrics(log_probs, epochs[1])
    assert metrics["loss"] == pytest.approx(expected.item(), rel=1e-9)
    assert metrics["own_statistics_share"] == (0.75 if per_prompt else 0.0)  # prompt 3 has two rewards


def test_two_images_worked_by_hand():
    # Rewards 1 and 3: mean 2, std 1: advantages -1 and 1, one step each: g = -A / (B T) = (1/2, -1/2).
    batch = Batch(torch.zeros(2, 1), torch.zeros(2, 1), torch.tensor([1.0, 3.0]), torch.arange(2), torch.arange(2))
    objective = begun(Ddpo(DdpoConfig()), batch)

    assert objective.coefficients(torch.zeros(2, 1), batch)[:, 0].tolist() == pytest.approx([0.5, -0.5], rel=1e-5)


def test_one_image_per_prompt_learns_from_the_epochs_statistics_until_a_prompt_has_enough():
    config = DdpoConfig(min_count=3)
    epochs = [batch_of(seed, keys=(1, 2, 3, 4)) for seed in range(3)]
    objective = Ddpo(config)
    shares = []
    for batch in epochs:
        begun(objective, batch)
        assert objective.coefficients(batch.log_probs_old, batch).any()
        shares.append(objective.metrics(batch.log_probs_old, batch)["own_statistics_share"])

    assert shares == [0.0, 0.0, 1.0]


def test_without_clipping_no_cell_is_stopped():
    batch = batch_of(0)
    far = moved(batch, 3.0)

    clipped = begun(Ddpo(DdpoConfig()), batch).coefficients(far, batch)
    free = begun(Ddpo(DdpoConfig(clipping=False)), batch).coefficients(far, batch)

    assert (clipped == 0).any()
    assert (free != 0).all()


@pytest.mark.slow
@given(seed=st.integers(0, 1000), shift=st.integers(-64, 64), per_prompt=st.booleans())
@settings(max_examples=30, deadline=None)
def test_adding_a_constant_to_all_rewards_changes_nothing(seed, shift, per_prompt):
    config = DdpoConfig(clip_range=0.1, min_count=2, per_prompt_normalisation=per_prompt)
    batch = batch_of(seed)
    shifted = Batch(
        batch.log_probs_old, batch.log_probs_ref, batch.rewards + shift, batch.prompt_index, batch.prompt_keys
    )
    log_probs = moved(batch, 0.1, seed)

    plain = begun(Ddpo(config), batch).coefficients(log_probs, batch)
    again = begun(Ddpo(config), shifted).coefficients(log_probs, shifted)

    torch.testing.assert_close(plain, again, rtol=1e-9, atol=1e-12)


@given(seed=st.integers(0, 1000))
@settings(max_examples=30, deadline=None)
def test_permuting_images_permutes_coefficients(seed):
    batch = batch_of(seed)
    order = torch.randperm(8, generator=torch.Generator().manual_seed(seed))
    permuted = Batch(
        batch.log_probs_old[order], batch.log_probs_ref[order], batch.rewards[order],
        batch.prompt_index[order], batch.prompt_keys[order],
    )  # fmt: skip
    log_probs, config = moved(batch, 0.1, seed), DdpoConfig(clip_range=0.1, min_count=4)

    plain = begun(Ddpo(config), batch).coefficients(log_probs, batch)
    again = begun(Ddpo(config), permuted).coefficients(log_probs[order], permuted)

    torch.testing.assert_close(plain[order], again, rtol=1e-9, atol=1e-12)


def test_a_third_epoch_after_a_restart_equals_the_uninterrupted_one_bit_for_bit():
    config = DdpoConfig(min_count=10, buffer_size=11)
    epochs = [batch_of(seed) for seed in range(3)]
    whole = begun(Ddpo(config), *epochs[:2])
    resumed, forgetful = Ddpo(config), Ddpo(config)

    resumed.load_state_dict(load(save(whole.state_dict())))

    g, again, forgot = (
        begun(each, epochs[2]).coefficients(moved(epochs[2], 1e-4), epochs[2]) for each in (whole, resumed, forgetful)
    )
    assert torch.equal(g, again)
    assert not torch.equal(g, forgot)
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())
