"""`make chaos`: runs in a bucket and with an MLflow server that fail at random all along, compared with a quiet run.

    PYTHONPATH=tests:. python -m chaos.run --faults 300 --seed 1

A run that gives up with exit code 75 is started again, as a service would. At its end every bit is that of the quiet
run, and MLflow has every point exactly once. Exit code 1: a difference was found.
"""

from __future__ import annotations

import argparse
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

import requests
from drill.bits import bits, differences, stored_points, wrong_points
from drill.processes import Fork, preload
from drill.run import empty_database
from drill.scene import Granularity, Scene

MOST_ATTEMPTS = 30
TESTS = Path(__file__).parents[1]


@contextmanager
def mlflow_server(folder: Path, database: Path) -> Iterator[str]:
    """A real one, without faults."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    files = ["--backend-store-uri", f"sqlite:///{database}", "--artifacts-destination", str(folder / "files")]
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    with (folder / "mlflow.log").open("wb") as log:
        server = subprocess.Popen([*command, *files], stdout=log, stderr=log, start_new_session=True)
    try:
        _wait(f"http://127.0.0.1:{port}", server, folder / "mlflow.log")
        yield f"http://127.0.0.1:{port}"
    finally:
        os.killpg(server.pid, 9)
        server.wait()


def _wait(url: str, server: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + 300
    while time.monotonic() < deadline and server.poll() is None:
        try:
            if requests.get(f"{url}/health", timeout=10).ok:
                return
        except requests.RequestException:
            time.sleep(0.3)
    raise AssertionError(f"the MLflow server did not start:\n{log.read_text()[-2000:]}")


@contextmanager
def chaos(folder: Path, upstream: str, seed: int, rate: float) -> Iterator[str]:
    """Both failing servers; sets STORAGE_EMULATOR_HOST, and yields the address of the proxy."""
    command = [sys.executable, "-m", "chaos.servers", "--seed", str(seed), "--rate", str(rate)]
    command += ["--upstream", upstream, "--log", str(folder / "faults.txt")]
    environment = os.environ | {"PYTHONPATH": f"{TESTS}:{TESTS.parent}"}
    server = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    assert server.stdout is not None
    os.environ["STORAGE_EMULATOR_HOST"], proxy = server.stdout.readline().split()
    try:
        yield proxy
    finally:
        server.kill()
        server.wait()


def faults(folder: Path) -> Counter[str]:
    """Server and action -> how often."""
    path = folder / "faults.txt"
    lines = [line.split() for line in path.read_text().splitlines()] if path.exists() else []
    return Counter(f"{server} {action}" for server, _, action in lines)


def survive(scene: Scene) -> int:
    """Start the run again until it succeeds; returns the number of attempts."""
    for number in range(1, MOST_ATTEMPTS + 1):
        process = Fork(scene)
        assert process.ended(600), "the attempt hangs"
        if process.code == 0:
            return number
        assert process.code == 75, f"code {process.code}:\n{process.log()}"
    raise AssertionError(f"{MOST_ATTEMPTS} attempts were not enough")


def main(argv: Sequence[str] | None = None) -> int:
    """Run through chaos; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=300)
    parser.add_argument("--rate", type=float, default=0.12, help="share of requests that fail")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    started, mismatches, num_runs = time.monotonic(), 0, 0
    preload()
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="rft-chaos-")))
        empty, database = folder / "empty.db", folder / "server.db"
        empty_database(empty)  # takes seconds, so once
        shutil.copyfile(empty, database)
        quiet: dict[Granularity, dict[str, str]] = {}
        points: dict[Granularity, Counter[tuple[str, int]]] = {}
        proxy = stack.enter_context(chaos(folder, _upstream(stack, folder, database), options.seed, options.rate))
        while faults(folder).total() < options.faults:
            granularity: Granularity = "fused" if num_runs % 2 == 0 else "split"
            if granularity not in quiet:
                scene = Scene(folder / f"quiet-{granularity}", "quiet", "disk", granularity)
                scene.folder.mkdir()
                shutil.copyfile(empty, scene.database)
                Fork(scene).finish()
                quiet[granularity], points[granularity] = bits(scene), stored_points(scene.database, scene.run)
            before = faults(folder).total()
            scene = Scene(folder / f"run-{num_runs}", f"run-{num_runs}", "gcs", granularity, proxy)
            os.environ["RFT_CACHE"] = str(folder / f"run-{num_runs}" / "cache")
            num_attempts = survive(scene)
            found = differences(quiet[granularity], bits(scene))
            found += wrong_points(points[granularity], stored_points(database, scene.run))
            mismatches += bool(found)
            verdict = f"DIFFERS: {', '.join(found[:5])}" if found else "same bits, every point once"
            happened = faults(folder).total() - before
            print(f"{scene.name:8} {granularity:5} {happened:4} faults, {num_attempts} attempts: {verdict}", flush=True)
            num_runs += 1
        counts = faults(folder)
    for name, num in sorted(counts.items()):
        print(f"{num:5}  {name}")
    seconds = time.monotonic() - started
    print(f"\n{counts.total()} faults in {num_runs} runs, {mismatches} mismatches; {seconds:.0f} s")
    return 1 if mismatches else 0


def _upstream(stack: ExitStack, folder: Path, database: Path) -> str:
    return stack.enter_context(mlflow_server(folder, database))


if __name__ == "__main__":
    sys.exit(main())
