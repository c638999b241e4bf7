"""An MLflow server with its UI, for tests and for the pictures of docs/."""

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import requests

_START_SECONDS = 300


@contextmanager
def mlflow_server(options: Sequence[str], log: Path) -> Iterator[str]:
    """`mlflow server` with `options` on a free port of this machine; gives its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MLFLOW_")}
    with log.open("w") as output:
        process = subprocess.Popen(
            [*command, *options], stdout=output, stderr=output, env=environment, start_new_session=True
        )
    try:
        uri = f"http://127.0.0.1:{port}"
        _wait_for(f"{uri}/health")
        yield uri
    finally:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _wait_for(url: str) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while time.monotonic() < deadline:
        try:
            if requests.get(url, timeout=10).ok:
                return
        except requests.RequestException:
            time.sleep(0.5)
    raise TimeoutError(f"the MLflow server did not answer at {url} for {_START_SECONDS} s")
