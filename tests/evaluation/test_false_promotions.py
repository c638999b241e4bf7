"""Simulated contests: how often a policy that is no better is promoted, and how far many promotions can drift."""

import numpy as np
import pytest

from reward_finetuning.config import RunConfig
from reward_finetuning.evaluation.objections import find_fallen_guards, find_objections
from reward_finetuning.evaluation.reports import noise_of_fingerprint
from reward_finetuning.report.statistics.intervals import paired_difference

STATED = 0.025
"""The interval has 95 %, and only its upper side promotes."""

MARGIN = 0.1
PROMPTS, IMAGES = 24, 2
IDS = [f"p{prompt}" for prompt in range(PROMPTS) for _ in range(IMAGES)]


@pytest.fixture(scope="module")
def config(tmp_path_factory):
    prompts = tmp_path_factory.mktemp("prompts") / "train.txt"
    prompts.write_text("\n".join(f"prompt {number}" for number in range(PROMPTS)), encoding="utf-8")
    return RunConfig.model_validate(
        {
            "name": "contest",
            "reward": {"weights": {"shapes": 0.7, "colourfulness": 0.3}},
            "evaluation": {"prompt_sets": {"train": str(prompts)}},
            "promotion": {"improve_on": ["train"], "keep_on": [], "guard_margins": {"colourfulness": MARGIN}},
        }
    )


def drawn(rng, mean, skewed):
    """Rewards [S] of a policy: spread between prompts, which the noise keeps, and between images."""
    spread = rng.exponential(0.3, PROMPTS) - 0.3 if skewed else rng.normal(0, 0.3, PROMPTS)
    return mean + np.repeat(spread, IMAGES) + rng.normal(0, 0.2, len(IDS))


def metrics(column, before, after):
    interval = paired_difference(before, after, IDS)
    values = {"gain": interval.mean, "gain_low": interval.low, "gain_high": interval.high}
    return {f"eval/train/{column}/{key}": value for key, value in values.items()}


@pytest.mark.parametrize("skewed", [False, True])
def test_a_policy_that_equals_the_champion_is_promoted_no_more_often_than_stated(config, skewed):
    rng, num = np.random.default_rng(7), 400
    equal = {"eval/train/colourfulness/gain": 0.0, "eval/train/colourfulness/gain_low": 0.0}

    promotions = sum(
        not list(find_objections(config, metrics("reward", drawn(rng, 0, skewed), drawn(rng, 0, skewed)) | equal))
        for _ in range(num)
    )

    noise_of_the_simulation = 3 * np.sqrt(STATED * (1 - STATED) / num)
    assert promotions / num <= STATED + noise_of_the_simulation


def drift(config, *, floor):
    """The guard reward's true change after 50 rounds, each of which offers a policy that costs a little of it."""
    rng, change = np.random.default_rng(3), 0.0
    pretrained = rng.normal(0, 0.02, len(IDS))
    champion = pretrained
    for _ in range(50):
        offered = change - 0.02
        candidate = offered + rng.normal(0, 0.02, len(IDS))
        fallen = list(find_fallen_guards(config, metrics("colourfulness", champion, candidate)))
        if floor:
            fallen += find_fallen_guards(config, metrics("colourfulness", pretrained, candidate))
        if not fallen:
            change, champion = offered, candidate
    return change


def test_50_rounds_cost_a_guard_reward_no_more_than_one_margin_below_the_pretrained_model(config):
    assert drift(config, floor=True) >= -MARGIN


def test_without_the_floor_50_rounds_cost_many_margins(config):
    assert drift(config, floor=False) < -5 * MARGIN


def test_each_contest_of_a_series_has_noise_of_its_own():
    first = {"warm_start.digest": "a", "prompts.digest": "p"}
    contests = [first, first | {"warm_start.digest": "b"}, first | {"prompts.digest": "q"}]

    noises = [noise_of_fingerprint(each) for each in contests]

    assert len(set(noises)) == 3
    assert noise_of_fingerprint(dict(first)) == noises[0]


def test_runs_from_the_pretrained_model_share_their_noise():
    assert noise_of_fingerprint({"prompts.digest": "p"}) == noise_of_fingerprint({"prompts.digest": "q"}) == 0
