"""Tasks that are forked from a server: what kfp's command says is what runs."""

import json
import random
import signal
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from multiprocessing import forkserver
from pathlib import Path

import pytest
import yaml
from kfp.local.subprocess_task_handler import replace_python_executable

from reward_finetuning.pipelines.local import tasks
from reward_finetuning.pipelines.local.tasks import Task, run_task
from reward_finetuning.pipelines.targets.roles import ROLE_OF_COMPONENT

GOLDEN = Path(__file__).parents[1] / "graphs" / "goldens" / "split-local.yaml"


def commands():
    """Command of every executor of a compiled package, as kfp.local starts it."""
    document = next(yaml.safe_load_all(GOLDEN.read_text("utf-8")))
    for executor in document["deploymentSpec"]["executors"].values():
        container = executor["container"]
        yield replace_python_executable([*container["command"], *container["args"]], sys.executable)


def command(body, *, component="draw", script=None):
    """Command of a component with this body."""
    (like,) = (each for each in commands() if each[-1] == "draw")
    source = f"def {component}():\n    {body}\n"
    executor_input = json.dumps({"inputs": {}, "outputs": {"outputFile": "/dev/null"}})
    return [
        *like[:2],
        script or like[2],
        source,
        "--executor_input",
        executor_input,
        "--function_to_execute",
        component,
    ]


@pytest.fixture(scope="module", autouse=True)
def server():
    """A server that imports little, so that it starts at once; a process has one (tests/servers/forks.py)."""
    patch = pytest.MonkeyPatch()
    patch.setattr(tasks, "_IMPORTS", ["kfp.dsl.executor_main"])
    tasks._server.cache_clear()
    forkserver._forkserver._stop()
    yield
    patch.undo()
    tasks._server.cache_clear()
    forkserver._forkserver._stop()


def refused(*_):
    raise AssertionError("kfp starts a new interpreter")


def test_every_command_of_a_package_is_a_task():
    named = {Task.of_command(each).component for each in commands()}

    assert named <= ROLE_OF_COMPONENT.keys()
    assert {"draw", "train_epoch", "next_epochs"} <= named


def test_a_task_runs_in_a_process_of_its_own_with_its_variables(tmp_path):
    body = "import os, pathlib; pathlib.Path(os.environ['OUT']).write_text(f'{os.getpid()} {os.getcwd()}')"

    codes = [run_task(refused, command(body), {"OUT": str(tmp_path / name)}) for name in "ab"]

    assert codes == [0, 0]
    (one, folder), (two, _) = ((tmp_path / name).read_text().split() for name in "ab")
    assert one != two
    assert folder == str(Path.cwd())


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ("raise KeyError('x')", 1),
        ("import sys; sys.exit(75)", 75),
        ("import os; os.kill(os.getpid(), 9)", -signal.SIGKILL),
    ],
)
def test_the_exit_code_is_that_of_the_task(body, code):
    assert run_task(refused, command(body)) == code


@pytest.mark.slow
def test_a_task_that_ends_while_another_starts_keeps_its_exit_code(monkeypatch):
    read = forkserver.read_signed

    def slow(stream):
        time.sleep(random.uniform(0, 0.05))  # several threads have seen that there is something to read
        return read(stream)

    monkeypatch.setattr(forkserver, "read_signed", slow)
    with ThreadPoolExecutor(4) as threads:
        codes = list(threads.map(lambda _: run_task(refused, command("import sys; sys.exit(75)")), range(40)))

    assert codes == [75] * 40


@pytest.mark.parametrize(
    "other",
    [
        command("pass", component="next_epoch"),
        command("pass", script="python3 -m pip install kfp && _KFP_RUNTIME=true python3 -m kfp.dsl.executor_main"),
        ["sh", "-c", "true"],
    ],
    ids=["a component of others", "a task that installs packages", "another command"],
)
def test_other_commands_are_left_to_kfp(other):
    calls = []

    code = run_task(lambda *given: calls.append(given) or 3, other, {"A": "b"})

    assert code == 3
    assert calls == [(other, {"A": "b"})]


def test_no_task_is_forked_where_bitsandbytes_would_initialise_cuda_in_the_server(tmp_path, monkeypatch):
    (tmp_path / "bitsandbytes.py").touch()
    monkeypatch.syspath_prepend(tmp_path)

    assert run_task(lambda *given: 3, command("import sys; sys.exit(75)")) == 3


def test_no_task_is_forked_beside_a_gpu_or_where_the_servers_socket_has_no_room(tmp_path, monkeypatch):
    for name, value in (("_GPUS", (str(tmp_path),)), ("_LONGEST_TMPDIR", 3)):
        with monkeypatch.context() as patch:
            patch.setattr(tasks, name, value)

            assert run_task(lambda *given: 3, command("import sys; sys.exit(75)")) == 3
