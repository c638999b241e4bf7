import numpy as np
import pytest
import torch

from reward_finetuning.config import TrainingError, UserError
from reward_finetuning.config.sections.reward import RewardConfig
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

    with pytest.raises(TrainingError, match=r"scorer broken returned -?(nan|inf) for sample 1 \(image 0 of 'text 1'\)"):
        score({"broken": broken}, {"broken": 1.0}, batches(2))


def test_the_wrong_number_of_scores_is_an_error():
    with pytest.raises(TrainingError, match=r"scorer few returned scores of shape \(1,\) for 3 pictures"):
        score({"few": lambda images, prompts: [1.0]}, {"few": 1.0}, batches(3))


@pytest.mark.parametrize(
    ("returned", "message"),
    [
        ([[1.0], [1.0]], r"returned scores of shape \(2, 1\) for 2 pictures"),
        ([1.0, 2.0, 3.0], r"returned scores of shape \(3,\) for 2 pictures"),
        (1.0, r"returned scores of shape \(\) for 2 pictures"),
        (None, "returned NoneType of object; it must return one real number"),
        (["0.5", "0.7"], "returned list of <U3; it must return one real number"),
        ([0.5, None], "returned list of object; it must return one real number"),
        (np.array([1j, 2j]), "returned ndarray of complex128; it must return one real number"),
        ([[1.0], [1.0, 2.0]], "returned a list that is not an array"),
        (torch.ones(2, requires_grad=True), "returned a Tensor that is not an array"),
    ],
)
def test_what_is_not_one_number_a_picture_is_an_error(returned, message):
    with pytest.raises(TrainingError, match=f"scorer odd {message}"):
        score({"odd": lambda images, prompts: returned}, {"odd": 1.0}, batches(2))


@pytest.mark.parametrize("returned", [[1, 2], np.float16([1, 2]), np.array([True, False]), torch.tensor([1.0, 2.0])])
def test_numbers_of_any_kind_become_float64(returned):
    rewards = score({"one": lambda images, prompts: returned}, {"one": 1.0}, batches(2))

    assert rewards.scores["one"].dtype == rewards.combined.dtype == np.float64
    assert rewards.scores["one"].tolist() == [float(value) for value in returned]


def test_built_in_scorers_are_loaded_by_name():
    scorers = load_scorers(RewardConfig(weights={"shapes": 1, "shapes_exact": 0, "colourfulness": 0}))
    blank = np.full((2, 32, 32, 3), 255, dtype=np.uint8)

    assert all(scorer(blank, ["a red circle"] * 2).shape == (2,) for scorer in scorers.values())


def test_an_unknown_scorer_lists_the_known_ones():
    with pytest.raises(UserError, match=r"no scorer 'beauty'; choose from aesthetic, .*shapes_exact; or set"):
        check_scorers(RewardConfig(weights={"shapes": 1, "beauty": 1}))


def test_an_official_package_that_is_not_here_says_where_it_is():
    with pytest.raises(UserError, match=r"needs the package ImageReward.*serve_rewards image_reward_official"):
        check_scorers(RewardConfig(weights={"image_reward_official": 1}))
