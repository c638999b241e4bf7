import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from reward_finetuning.config import RetryableError, UserError
from reward_finetuning.failures import FAILURE_FILE, failure_in, leave_failure
from reward_finetuning.training.launch import CLUSTER_SPEC, processes_to_start, start, vertex_nodes, words

SPEC = {
    "cluster": {
        "workerpool1": ["job-workerpool1-0:2222", "job-workerpool1-1:2222"],
        "workerpool0": ["job-workerpool0-0:2222"],
    },
    "environment": "cloud",
}


@pytest.mark.parametrize(
    ("pool", "index", "rank"), [("workerpool0", 0, 0), ("workerpool1", 0, 1), ("workerpool1", 1, 2)]
)
def test_the_nodes_of_a_vertex_job_meet_at_the_first_one(pool, index, rank):
    options = vertex_nodes(json.dumps(SPEC | {"task": {"type": pool, "index": index}}))

    assert options == ["--nnodes=3", f"--node-rank={rank}", "--master-addr=job-workerpool0-0", "--master-port=29500"]


def test_a_vertex_job_of_one_node_is_a_machine_like_any_other(run_config, monkeypatch):
    one = {"cluster": {"workerpool0": ["a:2222"]}, "task": {"type": "workerpool0", "index": 0}}
    two = {"cluster": {**one["cluster"], "workerpool1": ["b:2222"]}, "task": {"type": "workerpool1", "index": 0}}
    config = run_config(model={"device": "cpu"})

    monkeypatch.setenv(CLUSTER_SPEC, json.dumps(one))
    assert vertex_nodes(json.dumps(one)) == []
    assert processes_to_start(config) == 0

    monkeypatch.setenv(CLUSTER_SPEC, json.dumps(two))
    assert processes_to_start(config) == 1


def test_flags_are_written_as_a_step_reads_them():
    assert words({"next_policy": "p", "rollouts": ["a", "b"]}) == [
        "--next-policy", "p", "--rollouts", "a", "--rollouts", "b",
    ]  # fmt: skip


def test_without_a_gpu_no_process_is_started(run_config):
    assert processes_to_start(run_config(model={"device": "cpu"})) == 0


def test_processes_are_as_many_as_asked_for_but_none_within_one_of_them(run_config, monkeypatch):
    config = run_config(training={"processes": 3})
    assert processes_to_start(config) == 3

    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "1")
    assert processes_to_start(config) == 0


def test_the_number_of_processes_is_not_in_the_fingerprint(run_config):
    assert run_config(training={"processes": 2}).numbers() == run_config().numbers()


def test_an_error_of_ours_keeps_its_class_on_its_way_through_a_file(tmp_path, monkeypatch):
    path = tmp_path / "failure"
    monkeypatch.setenv(FAILURE_FILE, str(path))

    leave_failure(ValueError("connection closed by peer"))
    leave_failure(UserError("prompts.train is empty"))
    leave_failure(ValueError("connection closed by peer"))
    leave_failure(RetryableError("a later one"))

    found = failure_in(path.read_text())
    assert type(found) is UserError
    assert str(found) == "prompts.train is empty"


@pytest.mark.parametrize("text", ["", "Traceback", "[]", '{"error": "UserError"}', "{}"])
def test_another_text_tells_of_no_error(text):
    assert failure_in(text) is None


@pytest.mark.slow
def test_a_process_that_is_killed_is_an_error_that_a_retry_may_heal(tmp_path, monkeypatch):
    (tmp_path / "dies.py").write_text("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)\n")
    monkeypatch.setenv("PYTHONPATH", f"{tmp_path}:{':'.join(sys.path)}")

    with pytest.raises(RetryableError, match="memory"):
        start("dies", {}, 2)


@pytest.mark.slow
def test_no_process_outlives_the_step_that_started_it(tmp_path):
    (tmp_path / "sleeps.py").write_text(
        f"import os, time\nopen({str(tmp_path)!r} + '/pid-' + os.environ['RANK'], 'w').write(str(os.getpid()))\n"
        "time.sleep(600)\n"
    )
    program = "from reward_finetuning.training.launch import start; start('sleeps', {}, 2)"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    step = subprocess.Popen([sys.executable, "-c", program], env=environment)
    pids = [tmp_path / "pid-0", tmp_path / "pid-1"]
    _until(lambda: all(path.exists() and path.read_text() for path in pids))
    step.kill()
    step.wait()

    _until(lambda: not any(Path(f"/proc/{path.read_text()}").exists() for path in pids))


def _until(condition):
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.05)
