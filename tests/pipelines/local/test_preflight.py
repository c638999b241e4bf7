"""What `rft run` does with a run directory that holds a run of other settings."""

import subprocess
import sys
from pathlib import Path

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.local.folder import Attempt
from reward_finetuning.pipelines.local.preflight import check_run
from reward_finetuning.steps.next_epochs import begin
from reward_finetuning.storage import RunDirectory

HOLD = """
import sys, time
from reward_finetuning.pipelines.local.folder import Attempt
from reward_finetuning.config import parse_config
from reward_finetuning.storage import RunDirectory
attempt = Attempt.begin(RunDirectory(parse_config(sys.argv[1])))
print("begun", flush=True)
time.sleep(600)
"""


@pytest.fixture
def begun(run_config):
    """A run that a command of this machine has begun."""
    config = run_config(tracking={"enabled": False})
    run = RunDirectory(config)
    command = [sys.executable, "-c", HOLD, config.model_dump_json()]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout.readline() == "begun\n"
        begin(run)
        yield run, process
        process.kill()


def other(run):
    training = run.config.training.model_copy(update={"learning_rate": 0.5})
    return run.config.model_copy(update={"training": training})


def ended(process):
    process.kill()
    process.wait()


def test_a_run_that_ended_before_its_first_epoch_does_not_lock_its_name(begun, capsys):
    run, process = begun
    ended(process)

    replaced = check_run(other(run), replace_abandoned=True)

    assert replaced.describe() is None
    (folder,) = (Path(run.uri) / "failed").iterdir()
    assert (folder / "run.json").is_file()
    assert f"it is now {folder}" in capsys.readouterr().err


def test_a_run_whose_command_is_alive_keeps_its_name(begun):
    run, _ = begun

    with pytest.raises(UserError, match=r"was begun with other settings .*learning_rate"):
        check_run(other(run), replace_abandoned=True)


def test_an_evaluation_never_sets_a_run_aside(begun):
    run, process = begun
    ended(process)

    with pytest.raises(UserError, match=r"was begun with other settings"):
        check_run(other(run))


def test_the_same_settings_resume_what_was_begun(begun):
    run, process = begun
    ended(process)

    assert check_run(run.config, replace_abandoned=True).describe() is not None
    assert not (Path(run.uri) / "failed").exists()


def test_a_run_that_has_done_an_epoch_keeps_its_name(nudged_run):
    run = nudged_run({1: 0.5}, tracking={"enabled": False})
    Attempt.begin(run).lock.close()

    with pytest.raises(UserError, match="was begun with other settings"):
        check_run(other(run), replace_abandoned=True)
