"""MLflow for real: a sqlite store, and a server that is started, killed and started again."""

import os
import re
import signal
import socket
import subprocess
import sys
import time

import pytest
import requests
from mlflow.tracking import MlflowClient
from PIL import Image

from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import Entry, MemoryTracker, MlflowTracker, history
from reward_finetuning.tracking.lineage import Lineage


@pytest.fixture
def begun(run_config):
    def make(**changes):
        run = RunDirectory(run_config(**changes))
        run.begin({"model.digest": "m"}, {"code_version": "c"})
        return run

    return make


def points(run, key):
    tracker = MlflowTracker(run)
    history = MlflowClient(tracker.uri).get_metric_history(tracker.run_id, key)
    return sorted((point.step, point.value) for point in history)


def test_points_parameters_and_images_arrive_in_one_run(begun, tmp_path):
    run = begun()
    picture = tmp_path / "runs" / "tiny" / "grid.png"
    Image.new("RGB", (8, 8), "red").save(picture)

    for epoch in (1, 2):  # a tracker for each task, as in the pipeline
        checkpoint = {f"checkpoints/epoch_{epoch:05d}.json": {"uri": f"runs/{epoch}"}}
        MlflowTracker(run).log(Entry("train", epoch, {"reward/mean": epoch / 10}, references=checkpoint))
    MlflowTracker(run).log(Entry("evaluate", 2, {"eval/x": 1.0}, {"samples": picture}))

    tracker = MlflowTracker(run)
    client = MlflowClient(tracker.uri)
    (only,) = client.search_runs([client.get_experiment_by_name("reward-finetuning").experiment_id])
    assert only.info.run_id == tracker.run_id
    assert points(run, "reward/mean") == [(1, 0.1), (2, 0.2)]
    assert only.data.params["training.learning_rate"] == "0.0001"
    assert only.data.tags["fingerprint"] == run.fingerprint
    assert [file.path for file in client.list_artifacts(only.info.run_id, "checkpoints")] == [
        "checkpoints/epoch_00001.json",
        "checkpoints/epoch_00002.json",
    ]
    thumbnail, grid = (file.path for file in client.list_artifacts(only.info.run_id, "images"))
    assert re.fullmatch(r"images/samples\+step\+2\+timestamp\+\d+\+[0-9a-f-]{36}\+compressed.webp", thumbnail)
    assert grid == thumbnail.replace("+compressed.webp", ".png")


def test_a_report_of_the_same_task_and_epoch_counts_once(begun):
    run = begun()

    MlflowTracker(run).log(Entry("train", 1, {"a": 1.0}))
    MlflowTracker(run).log(Entry("train", 1, {"a": 2.0}))

    assert points(run, "a") == [(1, 1.0)]
    assert history(run) == {"a": [(1, 1.0)]}


def test_odd_names_are_made_ones_that_mlflow_takes(begun):
    run = begun()

    MlflowTracker(run).log(Entry("train", 1, {'reward/my "scorer", v2': 1.0}))

    assert points(run, "reward/my _scorer__ v2") == [(1, 1.0)]


def test_the_run_is_finished_and_can_be_taken_up_again(begun):
    run = begun()
    tracker = MlflowTracker(run)

    tracker.set_status("FINISHED")
    client = MlflowClient(tracker.uri)
    assert client.get_run(tracker.run_id).info.status == "FINISHED"

    tracker.set_status("RUNNING")
    assert client.get_run(tracker.run_id).info.status == "RUNNING"


def test_the_environments_server_is_used_unless_the_config_names_one(begun, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from-environment")

    assert MlflowTracker(begun()).uri == "http://from-environment"
    assert MlflowTracker(begun(name="b", tracking={"uri": "http://from-config"})).uri == "http://from-config"


def test_two_tasks_that_create_the_run_at_once_end_in_one(begun, monkeypatch):
    run = begun()
    first, second = MlflowTracker(run), MlflowTracker(run)
    original = Lineage._experiment

    def create_in_between(self):
        monkeypatch.setattr(Lineage, "_experiment", original)
        second.log(Entry("evaluate", 1, {"b": 1.0}))
        return original(self)

    monkeypatch.setattr(Lineage, "_experiment", create_in_between)
    first.log(Entry("train", 1, {"a": 1.0}))

    client = MlflowClient(first.uri)
    (only,) = client.search_runs([client.get_experiment_by_name("reward-finetuning").experiment_id])
    assert {"a", "b"} <= only.data.metrics.keys()


def test_a_memory_tracker_remembers_the_first_report():
    tracker = MemoryTracker()

    tracker.log(Entry("train", 1, {"a": 1.0}))
    tracker.log(Entry("train", 1, {"a": 2.0}))

    assert tracker.entries == {("train", 1): Entry("train", 1, {"a": 1.0})}


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
        self._wait()

    def _wait(self):
        deadline = time.monotonic() + 180
        while time.monotonic() < deadline:
            try:
                if requests.get(f"{self.uri}/health", timeout=2).ok:
                    return
            except requests.ConnectionError:
                time.sleep(0.5)
        pytest.fail("mlflow server did not start")

    def kill(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        self.log.close()


@pytest.mark.slow
def test_a_server_that_is_down_costs_neither_time_nor_points(begun, tmp_path):
    port = free_port()
    run = begun(tracking={"uri": f"http://127.0.0.1:{port}", "timeout_seconds": 2})
    tracker = MlflowTracker(run)
    started = time.monotonic()
    for epoch in range(1, 6):  # nobody listens yet
        tracker.log(Entry("train", epoch, {"reward/mean": float(epoch)}))
    assert time.monotonic() - started < 30  # one attempt, then a pause; MLflow's own defaults wait minutes a call
    assert tracker.run_id is None

    server = Server(tmp_path, port)
    MlflowTracker(run).log(Entry("train", 6, {"reward/mean": 6.0}))
    server.kill()
    MlflowTracker(run).log(Entry("train", 7, {"reward/mean": 7.0}))
    server = Server(tmp_path, port)
    try:
        MlflowTracker(run).log(Entry("train", 8, {"reward/mean": 8.0}))

        assert points(run, "reward/mean") == [(epoch, float(epoch)) for epoch in range(1, 9)]
    finally:
        server.kill()
