import os
import shutil
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests
from mlflow.tracking import MlflowClient

from reward_finetuning.storage import RunDirectory


@pytest.fixture(autouse=True)
def _store(mlflow_store):
    """Every test here has one."""


@pytest.fixture
def begun(run_config):
    """A factory of run directories that have just been begun."""

    def make(**changes):
        run = RunDirectory(run_config(**changes))
        run.begin({"model.digest": "m"}, {"code_version": "c"})
        return run

    return make


@pytest.fixture
def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Server:
    """`mlflow server` on a sqlite store, in a process group of its own."""

    def __init__(self, folder, port):
        self.uri = f"http://127.0.0.1:{port}"
        command = [
            sys.executable,
            "-m",
            "mlflow",
            "server",
            "--host",
            "127.0.0.1",
            "--port",
            str(port),
            "--workers",
            "1",
        ]
        store = [
            "--backend-store-uri",
            f"sqlite:///{folder}/server.db",
            "--artifacts-destination",
            str(folder / "files"),
        ]
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")}
        self.log = (folder / "server.log").open("a")
        self.process = subprocess.Popen(
            command + store, stdout=self.log, stderr=self.log, env=environment, start_new_session=True
        )

    def wait(self):
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{self.uri}/health", timeout=10).ok:
                    return
            except requests.RequestException:
                time.sleep(0.5)
        pytest.fail("mlflow server did not start")

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


@pytest.fixture
def server(tmp_path, free_port, _migrated_store):
    """A factory of servers on one store and one port, for a test that kills them; none is left behind."""
    started = []
    shutil.copyfile(_migrated_store, tmp_path / "server.db")

    def start():
        started.append(Server(tmp_path, free_port))
        started[-1].wait()
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()


@pytest.fixture(scope="session")
def _session_server(tmp_path_factory, _migrated_store):
    folder = tmp_path_factory.mktemp("server")
    shutil.copyfile(_migrated_store, folder / "server.db")
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        port = s.getsockname()[1]
    server = Server(folder, port)
    server.wait()
    yield server
    server.kill()


@pytest.fixture
def server_uri(_session_server):
    """A server that lives as long as the session, without experiments and models of other tests.

    Its tests are of the xdist_group "mlflow-server", so that one server is started.
    """
    yield _session_server.uri
    client = MlflowClient(_session_server.uri)
    for model in client.search_registered_models():
        client.delete_registered_model(model.name)
    for experiment in client.search_experiments():
        if experiment.name != "Default":
            client.rename_experiment(experiment.experiment_id, f"{experiment.name} {experiment.experiment_id}")
            client.delete_experiment(experiment.experiment_id)
