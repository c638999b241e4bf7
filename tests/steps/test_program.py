import json
import os
import runpy
import subprocess
import sys

import pytest

STEPS = ["next_epochs", "draw", "sample", "reward", "train_epoch", "evaluate", "run_epochs"]
ENVIRONMENT = {"COLUMNS": "200", "NO_COLOR": "1"}


def program(step, *arguments):
    command = [sys.executable, "-m", f"reward_finetuning.steps.{step}", *arguments]
    return subprocess.run(command, capture_output=True, text=True, env=os.environ | ENVIRONMENT, check=False)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules:RuntimeWarning:runpy")
@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_a_program_with_help(step, monkeypatch, capsys):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(sys, "argv", [step, "--help"])

    with pytest.raises(SystemExit) as end:  # in this process, which has imported torch
        runpy.run_module(f"reward_finetuning.steps.{step}", run_name="__main__")

    assert end.value.code == 0
    shown = capsys.readouterr().out
    assert "--config" in shown
    assert "The RunConfig as JSON text, or its address" in shown


def test_a_users_mistake_is_one_line_and_exit_code_2():
    done = program("next_epochs", "--config", '{"name": "a", "seed": -1}', "--policy", "policy.json")

    assert done.returncode == 2
    assert done.stderr.strip() == "UserError: config: seed: input should be greater than or equal to 0, got -1"


def test_a_config_that_is_neither_json_nor_an_address_is_named():
    done = program("gate", "--config", "x", "--policy", "policy.json")

    assert done.returncode == 2
    assert "config is JSON text or the address of the settings" in done.stderr


def test_what_a_step_returns_is_printed(run_config, tmp_path):
    config = run_config(tracking={"enabled": False}).model_dump_json()

    done = program("next_epochs", "--config", config, "--policy", str(tmp_path / "policy.json"))

    address, plan, epochs, first = json.loads(done.stdout.splitlines()[-1])
    assert (json.loads(plan)["first"], epochs, first) == (1, ["1", "2"], "1")
    assert address.startswith(f"{tmp_path}/")
