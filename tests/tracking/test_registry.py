"""The alias of a registered model, moved by real processes at once."""

import subprocess
import sys

import pytest
from mlflow.tracking import MlflowClient

from reward_finetuning.storage import RunDirectory, open_store
from reward_finetuning.tracking import Checkpoint, MlflowTracker
from reward_finetuning.tracking.registry import Registry

PROMOTE = """
import sys, time
from pathlib import Path
import mlflow.tracking  # before the race begins
from reward_finetuning.config import parse_config
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import Checkpoint
from reward_finetuning.tracking.registry import Registry

config, epoch, start = parse_config(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3])
registry = Registry(RunDirectory(config), "shared")
version = registry.register(
    Checkpoint(epoch, "uri", "checksum", "weights"),
    lambda folder: (folder / "weights").write_text(str(epoch)),
    {"epoch": str(epoch)},
)
_, token = registry.champion()
print("ready", flush=True)
while not start.exists():
    time.sleep(0.01)
print(registry.crown(version, reason=f"epoch {epoch}", token=token), flush=True)
"""


@pytest.fixture
def run(run_config):
    begun = RunDirectory(run_config())
    begun.begin({"model.digest": "m"}, {"code_version": "c"})
    return begun


def checkpoint(epoch):
    return Checkpoint(epoch, f"uri/{epoch}", f"checksum{epoch}", f"weights{epoch}")


def write(folder):
    (folder / "weights").write_text("w")


def version_of_alias(run):
    return str(MlflowClient(MlflowTracker(run).uri).get_model_version_by_alias("shared", "champion").version)


def test_a_model_without_versions_has_no_champion(run):
    assert Registry(run, "shared").champion() == (None, None)


def test_a_policy_is_registered_once_however_often_it_is_asked_for(run):
    registry = Registry(run, "shared")

    versions = [registry.register(checkpoint(epoch), write, {}) for epoch in (1, 1, 2)]

    assert versions == ["1", "1", "2"]


def test_a_promotion_that_was_cut_off_is_finished_by_the_next_who_looks(run):
    registry = Registry(run, "shared")
    first, second = (registry.register(checkpoint(epoch), write, {"epoch": str(epoch)}) for epoch in (1, 2))
    assert registry.crown(first, reason="first", token=None)
    _, token = registry.champion()
    cut_off = {"sequence": 2, "version": second, "settled": False}
    open_store(run.config.run_root).replace_json(".registry/shared.json", cut_off, expected=token)

    champion, _ = registry.champion()

    assert champion.number == version_of_alias(run) == second


def test_an_alias_moved_by_hand_is_respected(run):
    registry = Registry(run, "shared")
    first, second = (registry.register(checkpoint(epoch), write, {}) for epoch in (1, 2))
    registry.crown(second, reason="better", token=None)
    MlflowClient(MlflowTracker(run).uri).set_registered_model_alias("shared", "champion", first)

    champion, _ = registry.champion()

    assert champion.number == first


def test_who_looked_before_another_was_crowned_has_to_look_again(run):
    registry = Registry(run, "shared")
    first, second = (registry.register(checkpoint(epoch), write, {}) for epoch in (1, 2))
    _, token = registry.champion()
    assert registry.crown(first, reason="first", token=token)

    assert not registry.crown(second, reason="late", token=token)
    assert version_of_alias(run) == first


@pytest.mark.slow
def test_of_two_processes_that_promote_at_once_one_wins(run, tmp_path):
    MlflowTracker(run).flush()  # the store's tables are made once, before both come
    start = tmp_path / "start"
    config = run.config.model_dump_json()
    both = [
        subprocess.Popen(
            [sys.executable, "-c", PROMOTE, config, str(epoch), str(start)], stdout=subprocess.PIPE, text=True
        )
        for epoch in (1, 2)
    ]
    for process in both:
        assert process.stdout.readline().strip() == "ready"

    start.touch()
    won = [process.communicate()[0].strip() == "True" for process in both]

    assert sorted(won) == [False, True]
    winner = MlflowClient(MlflowTracker(run).uri).get_model_version_by_alias("shared", "champion")
    assert winner.tags["epoch"] == str(1 + won.index(True))
