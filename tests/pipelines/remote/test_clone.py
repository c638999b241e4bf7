"""A pipeline run cloned with other options, as a person does on Kubeflow's page; its tasks run for real."""

import io
import json
import threading
import urllib.request
from pathlib import Path

import pytest
from rich.console import Console
from servers.execution import LocalExecution
from servers.services import loopback

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.graphs.first_task import parameters
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.remote.clients import Package, connect
from reward_finetuning.pipelines.remote.follow import Follow
from reward_finetuning.pipelines.remote.service import settings_of
from reward_finetuning.pipelines.remote.submit import run_prefix
from reward_finetuning.storage import RunDirectory

pytestmark = pytest.mark.slow


@pytest.fixture
def service(tmp_path, monkeypatch):
    execution = LocalExecution(tmp_path / "executions")
    server, settings = loopback("kfp", execution, tmp_path)
    monkeypatch.delenv("KFP_TOKEN", raising=False)
    with server:
        yield settings()
    execution.close()


@pytest.fixture
def run(run_config):
    return RunDirectory(run_config(loop={"epochs": 1, "evaluate_every": 1}, tracking={"enabled": False}))


@pytest.fixture
def package(service, run, tmp_path):
    return Package(compile_package(run.config, service.target, tmp_path / "package.yaml"), parameters(run.config))


@pytest.fixture
def follow(service, run, package):
    """Follows the run of the package to its end; returns what was printed."""

    def to_the_end():
        printed = io.StringIO()
        client = connect(settings_of(service.target, service.cluster))
        Follow(client, run, package, Console(file=printed, width=300), 0, 0.1).to_the_end()
        return printed.getvalue()

    return to_the_end


def request(url, body=None):
    data = None if body is None else json.dumps(body).encode()
    with urllib.request.urlopen(urllib.request.Request(url, data)) as answer:
        return json.load(answer)


def clone(service, name, options):
    """Read the newest run through the API, and create a run that differs in its options and its name."""
    runs = f"{service.server.url}/apis/v2beta1/runs"
    original = request(f"{runs}/{list(service.server.runs)[-1]}")
    body = {key: original[key] for key in ("experiment_id", "pipeline_spec", "runtime_config")} | {"display_name": name}
    body["runtime_config"]["parameters"]["options"] = options
    return request(runs, body)["run_id"]


def test_a_clone_with_another_number_trains_another_run(service, run, follow):
    assert "epoch 1 of 1" in follow()
    before = run.latest()

    cloned = clone(service, "clone", "training.learning_rate=3e-3")
    while service.server.runs[cloned]["state"] == "RUNNING":
        threading.Event().wait(0.2)
    (folder,) = (path for path in Path(run.config.run_root).iterdir() if path.name.startswith("tiny-"))
    other = json.loads((folder / "latest.json").read_text())

    assert service.server.runs[cloned]["state"] == "SUCCEEDED"
    assert run.latest() == before
    assert other["epoch"] == 1
    assert other["facts"]["weights_sha256"] != before.facts["weights_sha256"]


def test_a_wrong_option_is_refused_by_the_first_task_and_read_by_follow(service, run, package, follow):
    client = connect(settings_of(service.target, service.cluster))
    wrong = dict(package.parameters, options="training.learning_rat=3e-3")
    client.submit(Package(package.path, wrong), f"{run_prefix(run.config)}1")

    with pytest.raises(
        UserError, match=r"unknown key 'training.learning_rat'; did you mean 'learning_rate'.*next_epochs, attempt 1"
    ):
        follow()

    assert len(service.names()) == 1
    assert run.describe() is None
