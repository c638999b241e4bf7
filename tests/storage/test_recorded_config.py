"""The settings of a pipeline run by their address."""

import json
from pathlib import Path

import pytest

from reward_finetuning.config import ArtifactError, UserError, parse_config
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.recorded_config import record_config, recorded_config


@pytest.fixture
def run(run_config):
    return RunDirectory(run_config())


def test_the_settings_come_back_as_they_were(run):
    address = record_config(run.store, run.config)

    assert address.startswith(f"{run.uri}/configs/")
    assert parse_config(recorded_config(address)) == run.config
    assert record_config(run.store, run.config) == address


def test_the_order_of_prompt_sets_and_weights_is_kept(run_config):
    weights, sets = {"shapes": 1.0, "colourfulness": 0.5}, {"train": "shapes:train", "black": "shapes:heldout"}
    run = RunDirectory(run_config(reward={"weights": weights}, evaluation={"prompt_sets": sets}))

    config = parse_config(recorded_config(record_config(run.store, run.config)))

    assert list(config.reward.weights) == list(weights)
    assert list(config.evaluation.prompt_sets) == list(sets)


def test_other_settings_have_another_address(run, run_config):
    more = run_config(loop={"epochs": 9})

    assert record_config(run.store, run.config) != record_config(run.store, more)


def test_text_in_json_is_no_address():
    assert recorded_config(' {"name": "a"}') == ' {"name": "a"}'


def test_altered_settings_are_refused(run):
    address = record_config(run.store, run.config)
    path = Path(address)
    path.write_text(json.dumps(json.loads(path.read_text()) | {"seed": 7}))

    with pytest.raises(ArtifactError, match="was altered: its digest is"):
        recorded_config(address)


def test_absent_settings_are_refused(run):
    with pytest.raises(ArtifactError, match=r"configs/0.json is absent: the first task of the pipeline run writes"):
        recorded_config(f"{run.uri}/configs/0.json")


@pytest.mark.parametrize("text", ["", "x", "gs://bucket/run.json", "runs/configs/readme.txt"])
def test_what_is_neither_is_refused(text):
    with pytest.raises(UserError, match="config is JSON text or the address of the settings"):
        recorded_config(text)
