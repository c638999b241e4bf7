import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from reward_finetuning.config import TrainingError
from reward_finetuning.objectives.pairs import all_pairs, draw_pairs, split_rows

REWARDS = torch.tensor([0.1, 0.5, 0.5, 0.9, 0.3, 0.3, 0.2, 0.8], dtype=torch.float64)
PROMPTS = torch.tensor([0, 0, 0, 0, 1, 1, 2, 2])
EVERYTHING = torch.arange(8)


def as_set(pairs):
    return set(zip(pairs.winners.tolist(), pairs.losers.tolist(), strict=True))


def test_all_pairs_are_those_of_one_prompt_whose_rewards_differ():
    assert as_set(all_pairs(REWARDS, PROMPTS, EVERYTHING)) == {(1, 0), (2, 0), (3, 0), (3, 1), (3, 2), (7, 6)}


def test_all_pairs_of_chosen_rows_leave_the_others_out():
    assert as_set(all_pairs(REWARDS, PROMPTS, torch.tensor([0, 3, 4, 6]))) == {(3, 0)}


@given(st.integers(0, 2**32), st.integers(1, 50))
def test_drawn_pairs_are_pairs_of_their_prompt_with_the_better_image_first(seed, num):
    drawn = draw_pairs(REWARDS, PROMPTS, EVERYTHING, num, np.random.default_rng(seed))

    assert len(drawn.winners) == len(drawn.losers) == num
    assert as_set(drawn) <= as_set(all_pairs(REWARDS, PROMPTS, EVERYTHING))
    assert set(drawn.rows.tolist()) == set(drawn.winners.tolist()) | set(drawn.losers.tolist())


def test_every_prompt_is_as_likely_and_in_it_every_pair():
    drawn = draw_pairs(REWARDS, PROMPTS, EVERYTHING, 4000, np.random.default_rng(0))

    counts = dict.fromkeys(as_set(all_pairs(REWARDS, PROMPTS, EVERYTHING)), 0)
    for pair in zip(drawn.winners.tolist(), drawn.losers.tolist(), strict=True):
        counts[pair] += 1
    assert counts.pop((7, 6)) == pytest.approx(2000, abs=150)
    assert all(count == pytest.approx(400, abs=80) for count in counts.values())


def test_rewards_that_are_all_equal_leave_nothing_to_learn_from():
    with pytest.raises(TrainingError, match="no two of the 8 images of one prompt differ in reward"):
        draw_pairs(torch.ones(8), PROMPTS, EVERYTHING, 3, np.random.default_rng(0))


@given(st.lists(st.integers(2, 30), min_size=1, max_size=5), st.floats(0.05, 0.95), st.integers(0, 2**32))
def test_held_out_rows_and_training_rows_share_the_images_and_both_hold_pairs(sizes, share, seed):
    prompt_index = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))

    train, heldout = split_rows(prompt_index, share, np.random.default_rng(seed))

    assert torch.equal(torch.cat([train, heldout]).sort().values, torch.arange(sum(sizes)))
    for prompt, size in enumerate(sizes):
        kept_out = int((prompt_index[heldout] == prompt).sum())
        assert kept_out == (0 if size < 4 else min(max(2, round(share * size)), size - 2))
