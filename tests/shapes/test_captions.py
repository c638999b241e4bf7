from collections import Counter

import numpy as np
import pytest

from reward_finetuning.shapes import prompt_sets
from reward_finetuning.shapes.captions import CATEGORY_SHARES, draw_scene, misdescribe
from reward_finetuning.shapes.scene import describe, parse


def scenes(count, seed=0):
    rng = np.random.default_rng(seed)
    return [draw_scene(rng) for _ in range(count)]


@pytest.mark.slow
def test_pretraining_never_draws_a_heldout_pair():
    assert {prompt_sets.split(scene) for scene in scenes(5000)} == {"train"}


def test_categories_come_as_often_as_stated():
    counts = Counter(scene.category for scene in scenes(5000))

    for category, share in CATEGORY_SHARES.items():
        assert counts[category] / 5000 == pytest.approx(share, abs=0.03)


def test_every_small_training_prompt_is_drawn():
    drawn = {describe(scene) for scene in scenes(20_000)}

    assert {describe(scene) for scene in prompt_sets.train()} <= drawn


def test_a_wrong_caption_is_another_training_prompt():
    rng = np.random.default_rng(0)
    for scene in scenes(3000):
        wrong = misdescribe(scene, rng)

        assert wrong != scene
        assert prompt_sets.split(wrong) == "train"
        assert parse(describe(wrong)) == wrong


def test_captions_err_in_every_way_that_models_do():
    rng = np.random.default_rng(0)
    scene = parse("a red circle and a blue square")
    wrong = {describe(misdescribe(scene, rng)) for _ in range(500)}

    assert {
        "a red circle",  # the second is missing
        "a green circle and a blue square",  # a colour
        "a red cross and a blue square",  # a kind
        "two red circles and a blue square",  # a number
    } <= wrong
    assert "a red circle on the right" in {
        describe(misdescribe(parse("a red circle on the left"), rng)) for _ in range(100)
    }
