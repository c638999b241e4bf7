import os
import subprocess
import sys

import pytest

STEPS = ["next_epochs", "shards", "sample", "reward", "train_epoch", "evaluation_due", "evaluate", "run_epochs"]


def program(step, *arguments):
    command = [sys.executable, "-m", f"reward_finetuning.steps.{step}", *arguments]
    environment = os.environ | {"COLUMNS": "200", "NO_COLOR": "1"}
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


@pytest.mark.slow
@pytest.mark.parametrize("step", STEPS)
def test_every_step_is_a_program_with_help(step):
    done = program(step, "--help")

    assert done.returncode == 0, done.stderr
    assert "--config" in done.stdout
    assert "The RunConfig as JSON text." in done.stdout


def test_a_users_mistake_is_one_line_and_exit_code_2():
    done = program("shards", "--config", '{"name": "a", "seed": -1}', "--plan", "{}", "--offset", "0")

    assert done.returncode == 2
    assert done.stderr.strip() == "UserError: config: seed: input should be greater than or equal to 0, got -1"


def test_a_plan_that_is_none_is_named():
    done = program("shards", "--config", '{"name": "a"}', "--plan", "x", "--offset", "0")

    assert done.returncode == 2
    assert "plan must be JSON text of first, last, epochs, got 'x'" in done.stderr


def test_what_a_step_returns_is_printed():
    plan = '{"first": 4, "last": 5, "epochs": 5}'

    done = program(
        "evaluation_due", "--config", '{"name": "a", "loop": {"epochs": 5}}', "--plan", plan, "--offset", "1"
    )

    assert done.stdout.strip() == "true"
