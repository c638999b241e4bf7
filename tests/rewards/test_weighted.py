import numpy as np
import pytest

from reward_finetuning.config import TrainingError, UserError
from reward_finetuning.config.reward import RewardConfig
from reward_finetuning.records import Prompt, Sample
from reward_finetuning.rewards.scorer import check_scorers, load_scorers
from reward_finetuning.rewards.weighted import score


def batches(*sizes):
    start = 0
    for size in sizes:
        samples = [Sample(i, Prompt(f"p{i}", f"text {i}"), 0) for i in range(start, start + size)]
        yield np.full((size, 2, 2, 3), start, dtype=np.uint8), samples
        start += size


def index(images, prompts):
    return np.array([float(prompt.split()[1]) for prompt in prompts])


def one(images, prompts):
    return np.ones(len(images))


def test_the_combined_reward_is_the_weighted_sum_over_all_batches():
    rewards = score({"index": index, "one": one}, {"index": 2.0, "one": 0.5}, batches(2, 1))

    assert rewards.combined.tolist() == [0.5, 2.5, 4.5]
    assert rewards.scores["index"].tolist() == [0.0, 1.0, 2.0]


def test_a_weight_of_zero_watches_without_counting():
    rewards = score({"index": index, "one": one}, {"index": 1.0, "one": 0.0}, batches(3))

    assert rewards.combined.tolist() == [0.0, 1.0, 2.0]
    assert rewards.scores["one"].tolist() == [1.0, 1.0, 1.0]


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_score_that_is_not_finite_names_scorer_and_sample(bad):
    def broken(images, prompts):
        values = np.ones(len(images))
        values[-1] = bad
        return values

    with pytest.raises(TrainingError, match=r"scorer broken gave -?(nan|inf) for sample 1 \(image 0 of 'text 1'\)"):
        score({"broken": broken}, {"broken": 1.0}, batches(2))


def test_the_wrong_number_of_scores_is_an_error():
    with pytest.raises(TrainingError, match=r"scorer few returned scores of shape \(1,\) for 3 pictures"):
        score({"few": lambda images, prompts: [1.0]}, {"few": 1.0}, batches(3))


def test_built_in_scorers_are_loaded_by_name():
    scorers = load_scorers(RewardConfig(weights={"shapes": 1, "shapes_exact": 0, "colourfulness": 0}))
    blank = np.full((2, 32, 32, 3), 255, dtype=np.uint8)

    assert all(scorer(blank, ["a red circle"] * 2).shape == (2,) for scorer in scorers.values())


def test_an_unknown_scorer_lists_the_known_ones():
    with pytest.raises(UserError, match="no scorer 'beauty'; choose from aesthetic, clip_score, colourfulness"):
        check_scorers(RewardConfig(weights={"shapes": 1, "beauty": 1}))
