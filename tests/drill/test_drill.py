"""The drill itself: two attempts at once, and a comparison that can fail."""

import shutil
from contextlib import contextmanager

import pytest
from drill.bits import bits, differences, stored_points, wrong_points
from drill.failpoints import FAILPOINTS, replace
from drill.mutations import MUTATIONS
from drill.processes import Fork, preload
from drill.run import empty_database, gcs_server
from drill.scene import Scene


@contextmanager
def nothing():
    yield


@pytest.mark.slow
@pytest.mark.parametrize("place", ["disk", "gcs"])
def test_r15_two_attempts_alive_at_once_end_in_the_bits_of_one(tmp_path, place, monkeypatch):
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", "")
    empty_database(tmp_path / "mlflow.db")
    preload()
    with gcs_server() if place == "gcs" else nothing():
        scenes = []
        for name in ("alone", "twice"):
            folder = tmp_path / name
            folder.mkdir()
            shutil.copyfile(tmp_path / "mlflow.db", folder / "mlflow.db")
            scenes.append(Scene(folder, name, place, "fused"))
        alone, twice = scenes
        monkeypatch.setenv("RFT_CACHE", str(tmp_path / "cache"))
        Fork(alone).finish()

        both = [Fork(twice), Fork(twice)]
        for each in both:
            each.finish()

        assert differences(bits(alone), bits(twice)) == []
        expected = stored_points(alone.database, alone.run)
        assert wrong_points(expected, stored_points(twice.database, twice.run)) == []


def test_a_difference_of_one_file_is_named():
    quiet = {"latest": "epoch 3", "epochs/0001/policy/optimizer.safetensors": "aa"}

    assert differences(quiet, quiet | {"epochs/0001/policy/optimizer.safetensors": "ab"}) == [
        "epochs/0001/policy/optimizer.safetensors"
    ]
    assert differences(quiet, {"latest": "epoch 3"}) == ["epochs/0001/policy/optimizer.safetensors"]


def test_a_point_that_is_missing_or_twice_is_named():
    stored = {("0/loss", 1): 2, ("0/new", 1): 1}

    assert wrong_points({("0/loss", 1): 1, ("0/kl", 1): 1}, stored) == [
        "0/kl of epoch 1 is missing",
        "0/loss of epoch 1 is there 2 times",
        "0/new of epoch 1 is one too many",
    ]


@pytest.mark.parametrize("failpoint", FAILPOINTS, ids=lambda each: each.name)
def test_a_failpoint_names_a_function_that_exists(failpoint):
    passages = []

    class StopError(Exception):
        pass

    def check(original):
        passages.append(original)
        raise StopError

    with pytest.raises(StopError):
        replace(failpoint.module, failpoint.attribute, check)
    assert callable(passages[0])


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_mutation_names_a_function_that_exists(mutation):
    module, attribute, _ = MUTATIONS[mutation]

    def check(original):
        assert callable(original)
        raise KeyError(attribute)

    with pytest.raises(KeyError):
        replace(module, attribute, check)
