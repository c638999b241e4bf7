"""Comparing with the official packages; a small program stands in for their environment."""

import stat
import sys

import numpy as np
import pytest

from reward_finetuning.config import TrainingError, UserError
from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.rewards import verification
from reward_finetuning.rewards.models import pickscore
from reward_finetuning.rewards.verification_pictures import folder_pictures, generated_pictures

# Answers a request as rewards/official does, with scores that it was given.
STAND_IN = """#!{python}
import json, sys
from pathlib import Path
import numpy as np
assert sys.argv[1:3] == ["-m", "reward_finetuning.rewards.official"]
folder = Path(sys.argv[3])
request = json.loads((folder / "request.json").read_text())
images = [np.load(path) for path in sorted(folder.glob("[0-9]*.npy"))]
assert request["scorer"] == "pickscore" and request["settings"]["device"] == "cpu"
assert len(images) == len(request["prompts"]) and images[0].dtype == np.uint8
scores = np.array({scores})
{what}
np.save(folder / "scores.npy", scores)
"""


@pytest.fixture(scope="module")
def scores(clip_files):
    """What our PickScore gives three drawn pictures, one call each."""
    scorer = pickscore.load(ScorerConfig(source=str(clip_files), device="cpu"))
    return [float(scorer(image[None], [prompt])[0]) for image, prompt in zip(*generated_pictures(3), strict=True)]


@pytest.fixture
def stand_in(tmp_path, scores):
    def make(what="pass"):
        path = tmp_path / "python"
        path.write_text(STAND_IN.format(python=sys.executable, scores=scores, what=what))
        path.chmod(path.stat().st_mode | stat.S_IXUSR)
        return path

    return make


@pytest.fixture
def config(clip_files):
    settings = ScorerConfig(source=str(clip_files))
    return RewardConfig(weights={"pickscore": 1, "shapes": 0}, scorers={"pickscore": settings}, verify=3)


def test_scores_that_agree_pass_and_are_shown(config, stand_in, scores, monkeypatch):
    monkeypatch.setenv("RFT_OFFICIAL_PYTHON", str(stand_in()))

    comparisons = verification.verify(config)

    assert [(each.scorer, len(each.ours)) for each in comparisons] == [("pickscore", 3)]
    assert comparisons[0].largest_difference < 1e-6
    np.testing.assert_allclose(comparisons[0].ours, scores, atol=1e-6)
    assert len(comparisons[0].table().splitlines()) == 5


@pytest.mark.parametrize("what", ["scores[1] += 2e-4", "scores[2] = np.nan"])
def test_a_difference_or_a_nan_stops_with_a_table(config, stand_in, monkeypatch, what):
    monkeypatch.setenv("RFT_OFFICIAL_PYTHON", str(stand_in(what)))

    with pytest.raises(
        TrainingError, match=r"differs from its official package by up to (?s:.*)ours +official +difference"
    ):
        verification.verify(config)


def test_a_package_that_the_environment_lacks_is_named(config, stand_in, monkeypatch):
    monkeypatch.setenv("RFT_OFFICIAL_PYTHON", str(stand_in("import no_such_package")))

    with pytest.raises(
        UserError, match=r"the official pickscore in .*python failed: .*No module named 'no_such_package'"
    ):
        verification.verify(config)


def test_nothing_is_verified_where_it_is_not_asked_for(config, monkeypatch):
    monkeypatch.delenv("RFT_OFFICIAL_PYTHON", raising=False)

    assert verification.verify(config.model_copy(update={"verify": 0})) == []


def test_verifying_without_a_scorer_environment_is_refused(config, monkeypatch):
    monkeypatch.delenv("RFT_OFFICIAL_PYTHON", raising=False)

    with pytest.raises(UserError, match=r"build it with `make scorer-environment`, then set RFT_OFFICIAL_PYTHON"):
        verification.check_verification(config)


def test_a_scorer_environment_that_cannot_be_run_is_refused(config, monkeypatch, tmp_path):
    monkeypatch.setenv("RFT_OFFICIAL_PYTHON", str(tmp_path / "nowhere"))

    with pytest.raises(UserError, match=r"nowhere is not an executable Python"):
        verification.check_verification(config)


def test_verifying_scorers_without_an_official_package_is_refused(stand_in, monkeypatch):
    monkeypatch.setenv("RFT_OFFICIAL_PYTHON", str(stand_in()))

    with pytest.raises(
        UserError, match=r"none of shapes has an official package .*hpsv2, hpsv2_1, image_reward, pickscore"
    ):
        verification.check_verification(RewardConfig(weights={"shapes": 1}, verify=4))


def test_verifying_does_not_change_what_a_run_is(run_config):
    assert run_config(reward={"verify": 5}).numbers() == run_config().numbers()


def test_generated_pictures_are_the_same_each_time_and_of_several_shapes():
    images, prompts = generated_pictures(9)

    again, _ = generated_pictures(9)

    assert all(np.array_equal(a, b) for a, b in zip(images, again, strict=True))
    assert len({image.shape for image in images}) == 8
    assert all(prompts)


def test_pictures_of_a_folder_take_their_prompt_from_the_text_beside_them_or_their_name(tmp_path):
    from PIL import Image

    for name in ("b_red-cat.png", "a.png"):
        Image.new("RGBA", (20, 10)).save(tmp_path / name)
    (tmp_path / "a.txt").write_text("a dog\n")

    images, prompts = folder_pictures(tmp_path, 8)

    assert prompts == ["a dog", "b red cat"]
    assert [image.shape for image in images] == [(10, 20, 3)] * 2


def test_a_folder_without_pictures_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"contains no .png, .jpg or .webp"):
        folder_pictures(tmp_path, 8)


def test_only_scorers_with_an_official_package_are_compared(tmp_path):
    with pytest.raises(UserError, match=r"aesthetic has no official package to compare with; choose from hpsv2"):
        verification.compare("aesthetic", ScorerConfig(), [], [], tmp_path)
