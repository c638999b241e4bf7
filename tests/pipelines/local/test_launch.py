"""What the launcher makes of its tasks: real processes of kfp.local, each with one small task."""

import io
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from kfp import dsl
from kfp.compiler import Compiler
from rich.console import Console

from reward_finetuning.failures import BUG
from reward_finetuning.pipelines.local.folder import Attempt
from reward_finetuning.pipelines.local.launch import Outcome, run_once
from reward_finetuning.pipelines.local.runner import Runner
from reward_finetuning.storage import RunDirectory

pytestmark = pytest.mark.slow


def reports(number: int):
    from reward_finetuning.events import Progress, report_news

    print("epoch 7: a sentence that is only printed")
    print("TrainingError: a line that is only printed")
    with Progress("sample", "epoch 1", 4, "images") as progress:
        progress.advance(4)
    print("a line without an end", end="")
    report_news("epoch 1: reward 0.5")


def fails(number: int):
    from reward_finetuning.config import RetryableError, TrainingError, UserError
    from reward_finetuning.steps.program import step

    @step
    def body(config):
        raise {2: UserError, 3: TrainingError, 75: RetryableError, 1: KeyError}[number]("for a reason")

    body("{}")


def is_killed(number: int):
    import os

    os.kill(os.getpid(), number)


def works_on(number: int):
    import os
    import time
    from pathlib import Path

    from reward_finetuning.steps.program import step

    @step
    def body(config):
        Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
        time.sleep(600)

    body("{}")


def draw(number: int):  # of this name, and so forked (tasks.py)
    import os
    import time
    from pathlib import Path

    from reward_finetuning.steps.program import step

    @step
    def body(config):
        Path(os.environ["PID_FILE"]).write_text(str(os.getpid()))
        time.sleep(600)

    body("{}")


@pytest.fixture
def attempt(run_config):
    """A factory: the attempt of a run whose package has one task, `body(number)`."""

    def make(body, number=0):
        made = Attempt.begin(RunDirectory(run_config()))
        component = dsl.component(body, base_image="python", install_kfp_package=False)

        @dsl.pipeline(name="one-task")
        def pipeline():
            component(number=number)

        Compiler().compile(pipeline, str(made.package))
        return made

    return make


def run(attempt):
    """The outcome, and what the user reads."""
    text = io.StringIO()
    return run_once(attempt, Runner.SUBPROCESS, Console(file=text, width=200), {}), text.getvalue()


def test_the_user_reads_what_steps_report_and_nothing_else_that_they_print(attempt):
    made = attempt(reports)

    outcome, text = run(made)

    assert outcome.exit_code == 0, outcome.error
    assert text.splitlines() == ["sample, epoch 1: 4/4 images", "epoch 1: reward 0.5"]
    assert "a sentence that is only printed" in made.log.read_text()
    assert "epoch 1: reward 0.5" in made.log.read_text()


@pytest.mark.parametrize("code", [2, 3, 75, 1])
def test_the_exit_code_is_that_of_the_error_in_the_body_of_a_task(attempt, code):
    made = attempt(fails, code)

    outcome, _ = run(made)

    assert outcome.exit_code == code
    assert "for a reason" in outcome.error
    assert str(made.log) in outcome.error


def test_a_killed_task_names_the_signal_and_the_likely_cause(attempt):
    outcome, _ = run(attempt(is_killed, int(signal.SIGKILL)))

    assert outcome.exit_code == 75
    assert "a task was killed by signal SIGKILL; most likely the machine had no memory left" in outcome.error


def test_the_user_reads_whether_a_retry_can_help():
    advice = {code: Outcome(code).advice for code in (2, 3, 75, 1)}

    assert advice[2] == advice[3] == "a retry cannot help"
    assert advice[75] == "run the same command again to resume"
    assert advice[1] == BUG


def test_two_attempts_of_a_run_share_no_file(run_config):
    attempts = [Attempt.begin(RunDirectory(run_config())) for _ in range(2)]

    files = [{made.package, made.log, made.events, made.failure} for made in attempts]
    assert not files[0] & files[1]


PROGRAM = """
import sys
from pathlib import Path
from rich.console import Console
from reward_finetuning.pipelines.local.folder import Attempt
from reward_finetuning.pipelines.local.launch import run_once
from reward_finetuning.pipelines.local.runner import Runner
outcome = run_once(Attempt(Path(sys.argv[1])), Runner.SUBPROCESS, Console(), {})
print(outcome.error)
sys.exit(outcome.exit_code)
"""


@pytest.fixture
def without_torch(tmp_path):
    """Path of modules that keep libraries out, so that the server that `draw` is forked from starts at once."""
    folder = tmp_path / "without-torch"
    folder.mkdir()
    for library in ("diffusers", "mlflow", "torch", "transformers"):
        (folder / f"{library}.py").write_text("raise ImportError\n")
    return [str(folder), *sys.path]


@pytest.mark.parametrize(
    ("body", "number"),
    [(works_on, signal.SIGTERM), (works_on, signal.SIGHUP), (draw, signal.SIGTERM), (draw, signal.SIGKILL)],
)
def test_tasks_end_with_the_launcher(attempt, tmp_path, without_torch, body, number):
    made, pid_file = attempt(body), tmp_path / "pid"
    environment = os.environ | {"PID_FILE": str(pid_file), "PYTHONPATH": os.pathsep.join(without_torch)}
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)  # a test that nohup started ignores it, and so does its child
    launcher = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(made.folder)], stdout=subprocess.PIPE, text=True, env=environment
    )
    signal.signal(signal.SIGHUP, before)
    until(lambda: pid_file.exists() and pid_file.read_text())

    launcher.send_signal(number)
    text, _ = launcher.communicate(timeout=60)

    until(lambda: not Path("/proc", pid_file.read_text()).exists(), seconds=5)
    if number != signal.SIGKILL:
        assert launcher.returncode == 128 + number
        assert text == f"ended by signal {number.name}\n"


def until(condition, seconds=60):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
