import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests

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
def server(tmp_path, free_port):
    """A factory of servers on one store and one port; none is left behind."""
    started = []

    def start():
        started.append(Server(tmp_path, free_port))
        started[-1].wait()
        return started[-1]

    yield start
    for each in started:
        if each.process.poll() is None:
            each.kill()
