import time
from collections import defaultdict, deque

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load, save

from reward_finetuning.objectives.advantages import RewardBuffer, normalised, per_prompt


def filled(size, epochs):
    buffer = RewardBuffer(size)
    for keys, rewards in epochs:
        buffer.append(torch.tensor(keys), torch.tensor(rewards, dtype=torch.float64))
    return buffer


def test_a_buffer_worked_by_hand():
    buffer = filled(3, [([7, 2, 7], [1.0, 2.0, 3.0]), ([7, 7, 9], [4.0, 5.0, 6.0])])

    state = buffer.state_dict()

    assert state["keys"].tolist() == [2, 7, 9]
    assert state["counts"].tolist() == [1, 3, 1]
    assert state["rewards"].tolist() == [[2.0, 0.0, 0.0], [3.0, 4.0, 5.0], [6.0, 0.0, 0.0]]


epoch_strategy = st.lists(st.tuples(st.integers(0, 6), st.floats(-1e6, 1e6)), min_size=1, max_size=12)


@given(epochs=st.lists(epoch_strategy, min_size=1, max_size=6), size=st.integers(1, 5), min_count=st.integers(1, 5))
@settings(max_examples=60, deadline=None)
def test_advantages_equal_those_of_deques_and_numpy(epochs, size, min_count):
    buffer, deques = RewardBuffer(size), defaultdict(lambda: deque(maxlen=size))
    for epoch in epochs:
        keys, rewards = [key for key, _ in epoch], [reward for _, reward in epoch]
        buffer.append(torch.tensor(keys), torch.tensor(rewards, dtype=torch.float64))
        for key, reward in epoch:
            deques[key].append(reward)

        found, own_share = per_prompt(
            torch.tensor(keys), torch.tensor(rewards, dtype=torch.float64), buffer,
            min_count=min_count, max_advantage=2.0,
        )  # fmt: skip

        among = [deques[key] if len(deques[key]) >= min_count else rewards for key in keys]
        expected = [(r - np.mean(a)) / (np.std(a) + 1e-6) for r, a in zip(rewards, among, strict=True)]
        np.testing.assert_allclose(found.numpy(), np.clip(expected, -2, 2), rtol=1e-9, atol=1e-4)
        assert own_share == pytest.approx(np.mean([len(deques[key]) >= min_count for key in keys]))


def test_normalised_worked_by_hand():
    # mean 2, population std 1 + 1e-6
    found = normalised(torch.tensor([1.0, 2.5, 100.0]), torch.tensor([1.0, 3.0]), max_advantage=5.0)

    assert found.tolist() == pytest.approx([-1.0, 0.5, 5.0], rel=1e-5)


def test_equal_rewards_have_no_advantage():
    assert not normalised(torch.full((4,), 0.3), torch.full((4,), 0.3), max_advantage=5.0).any()


def test_the_state_survives_safetensors_exactly_and_goes_on():
    keys = torch.tensor([2**62 + 1, -5, 2**62 + 1])
    buffer, restored = RewardBuffer(2), RewardBuffer(2)
    buffer.append(keys, torch.tensor([0.1, 1 / 3, 1e-300], dtype=torch.float64))

    restored.load_state_dict(load(save(buffer.state_dict())))
    for each in (buffer, restored):
        each.append(keys[:1], torch.tensor([0.7], dtype=torch.float64))

    assert all(torch.equal(value, restored.state_dict()[name]) for name, value in buffer.state_dict().items())
    assert restored.of(keys[0]).tolist() == [1e-300, 0.7]


def test_a_saved_state_does_not_change_with_the_buffer():
    buffer = filled(2, [([1], [0.5])])
    state = buffer.state_dict()

    buffer.append(torch.tensor([1]), torch.tensor([0.75]))

    assert state["rewards"].tolist() == [[0.5, 0.0]]


def test_an_epoch_costs_little_when_a_hundred_thousand_prompts_are_known():
    buffer = RewardBuffer(32)
    buffer.load_state_dict(
        {
            "keys": torch.arange(0, 200_000, 2),
            "counts": torch.full((100_000,), 32),
            "rewards": torch.rand(100_000, 32, dtype=torch.float64),
        }
    )
    keys = torch.arange(512)
    started = time.process_time()

    buffer.append(keys, torch.rand(512, dtype=torch.float64))
    state = buffer.state_dict()

    assert time.process_time() - started < 2.0
    assert state["rewards"].shape == (100_256, 32)
