"""Real training behind the loopback servers: packages are executed through kfp.local, `rft` is a process of its own."""

import io
import json
import os
import signal
import subprocess
import sys
import threading

import pytest
import yaml
from rich.console import Console
from servers.execution import LocalExecution
from servers.services import loopback

from reward_finetuning.evaluation.reports import is_done
from reward_finetuning.pipelines.graphs.first_task import parameters
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.remote.clients import Package, connect
from reward_finetuning.pipelines.remote.follow import Follow
from reward_finetuning.pipelines.remote.service import settings_of
from reward_finetuning.storage import RunDirectory

pytestmark = pytest.mark.slow


@pytest.fixture
def execution(tmp_path):
    execution = LocalExecution(tmp_path / "executions")
    yield execution
    execution.close()


@pytest.fixture(params=["kfp"])
def service(request, execution, tmp_path, monkeypatch, google_key):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google_key))
    server, settings = loopback(request.param, execution, tmp_path)
    with server:
        yield settings()


@pytest.fixture
def following(service, tmp_path):
    """A factory of `rft submit --follow` processes; what they say goes to a file."""
    started = []

    def start(config, said):
        run_file, cluster = tmp_path / "run.yaml", tmp_path / "cluster.yaml"
        run_file.write_text(yaml.safe_dump(config.model_dump(mode="json")))
        cluster.write_text(yaml.safe_dump(service.cluster.model_dump(mode="json", exclude_none=True)))
        command = [
            sys.executable,
            "-m",
            "reward_finetuning.pipelines.cli",
            "submit",
            str(run_file),
            "--target",
            service.target,
        ]
        command += ["--cluster", str(cluster), "--follow", "--poll", "0.1"]
        with said.open("w") as file:
            environment = os.environ | {"PYTHONUNBUFFERED": "1"}
            process = subprocess.Popen(command, stdout=file, stderr=subprocess.STDOUT, env=environment)
        started.append(process)
        return process

    yield start
    for process in started:
        process.kill()


def until(condition, process):
    """Wait for what the process is about to bring about."""
    while not condition():
        assert process.poll() is None, "it ended first"
        threading.Event().wait(0.005)


def latest(run):
    return RunDirectory(run).latest().epoch


def test_a_follower_that_is_killed_goes_on_with_the_same_run_until_all_epochs_are_done(
    service, following, run_config, tmp_path
):
    loop = {"granularity": "split", "epochs": 2, "epochs_per_run": 1, "evaluate_every": 2}
    run = run_config(loop=loop, tracking={"enabled": False})
    first, second = tmp_path / "first.txt", tmp_path / "second.txt"

    killed = following(run, first)
    until(lambda: "running" in first.read_text(), killed)
    killed.send_signal(signal.SIGKILL)
    killed.wait()
    assert len(service.names()) == 1
    assert latest(run) == 0
    again = following(run, second)

    assert again.wait(900) == 0, second.read_text()
    name_1, name_2 = service.names()
    assert f"found {name_1}" in second.read_text()
    assert f"submitted {name_2}" in second.read_text()
    assert "tiny is done: 2 epochs are trained and evaluated" in second.read_text()
    assert {each["state"] for each in service.server.runs.values()} == {"SUCCEEDED"}
    assert is_done(RunDirectory(run))


def test_a_run_whose_node_is_lost_is_submitted_again_and_goes_on_where_it_was(
    service, execution, following, run_config, tmp_path
):
    run = run_config(loop={"epochs": 5, "evaluate_every": 5}, tracking={"enabled": False})
    said = tmp_path / "said.txt"

    process = following(run, said)
    until(lambda: latest(run) >= 1, process)
    execution.kill(service.names()[0])

    assert process.wait(900) == 0, said.read_text()
    lost, whole = service.server.runs.values()
    assert (lost["state"], whole["state"]) == ("FAILED", "SUCCEEDED")
    assert "failed: the node was lost" in said.read_text()
    assert "epoch 5 of 5" in said.read_text()
    policies = (tmp_path / "runs" / "tiny" / "epochs").glob("*/policy/manifest.json")
    assert 5 in {json.loads(path.read_text())["identity"]["epoch"] for path in policies}


@pytest.mark.parametrize("service", ["vertex"], indirect=True)
def test_a_package_for_vertex_arrives_whole_and_runs(service, run_config, tmp_path):
    run = RunDirectory(run_config(loop={"epochs": 1, "evaluate_every": 1}, tracking={"enabled": False}))
    path = compile_package(run.config, service.target, tmp_path / "package.yaml")
    package = Package(path, parameters(run.config))
    said = io.StringIO()

    Follow(connect(settings_of(service.target, service.cluster)), run, package, Console(file=said), 0, 0.1).to_the_end()

    assert "epoch 1 of 1" in said.getvalue()
    assert is_done(run)
