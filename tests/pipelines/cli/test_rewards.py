"""`rft fetch-weights` and `rft verify-rewards` as their user meets them."""

import os
import subprocess
import sys

import pytest

from reward_finetuning.rewards.catalogue import MODELS


@pytest.fixture
def rft(tmp_path):
    def call(*arguments):
        environment = os.environ | {"COLUMNS": "200", "HF_HOME": str(tmp_path / "hf"), "HF_HUB_OFFLINE": "1"}
        environment.pop("RFT_OFFICIAL_PYTHON", None)
        command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

    return call


def test_fetch_weights_says_what_from_where_how_big_and_under_which_licence(rft, tmp_path):
    done = rft("fetch-weights")

    assert done.returncode == 0, done.stderr
    for model in MODELS.values():
        for file in model.files.values():
            assert file.name in done.stdout
            revision = "" if file.package else f"@{(file.repository.revision or 'main')[:12]}"
            assert f"{file.repository.name}{revision}  licence: {file.repository.licence}" in done.stdout
    assert "image_reward: 1.79 GB" in done.stdout
    assert "rft fetch-weights --to weights --download" in done.stdout
    assert not (tmp_path / "weights").exists()


def test_fetch_weights_offline_ends_with_75_and_says_what_to_do(rft):
    done = rft("fetch-weights", "image_reward", "--to", "there", "--download")

    assert done.returncode == 75
    assert "ImageReward.pt of zai-org/ImageReward at 5736be03b265" in done.stderr
    assert "is not in the hub's cache and the hub cannot be reached" in done.stderr


def test_fetch_weights_of_no_scorer_is_refused(rft):
    done = rft("fetch-weights", "beauty")

    assert done.returncode == 2
    assert "no weights are listed for beauty; choose from pickscore, hpsv2" in done.stderr


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["shapes"], "shapes: no official package to compare with; choose from hpsv2"),
        (["nowhere.yaml"], "no run file nowhere.yaml"),
        (["hpsv2"], "build it with `make scorer-environment`"),
    ],
)
def test_verify_rewards_refuses_what_it_cannot_compare(rft, arguments, message):
    done = rft("verify-rewards", *arguments)

    assert done.returncode == 2
    assert message in done.stderr
