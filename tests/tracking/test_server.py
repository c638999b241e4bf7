"""A real MLflow server that hands artifacts through: killed, started again, written to by several at once."""

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from reward_finetuning.evaluation.exports import policy_of_epoch
from reward_finetuning.evaluation.reports import evaluation_entry
from reward_finetuning.steps.promote import promote
from reward_finetuning.storage import write_reference
from reward_finetuning.tracking import Entry, MlflowTracker
from reward_finetuning.tracking.journal import Journal

WRITER = """
import sys
from reward_finetuning.config import parse_config
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import Entry, MlflowTracker

run = RunDirectory(parse_config(sys.argv[1]))
for epoch in range(1, 6):
    both = epoch + (0.5 if sys.argv[2] == "train" else 0.0)  # equal points of one millisecond would be one point
    MlflowTracker(run).log(Entry(sys.argv[2], epoch, {f"{sys.argv[2]}/value": float(epoch), "both": both}))
"""


def points(run, key):
    tracker = MlflowTracker(run)
    history = MlflowClient(tracker.uri).get_metric_history(tracker.run_id, key)
    return sorted((point.step, point.value) for point in history)


@pytest.mark.slow
def test_a_server_that_is_down_costs_neither_time_nor_points(begun, server, free_port):
    run = begun(tracking={"uri": f"http://127.0.0.1:{free_port}", "timeout_seconds": 20})
    tracker = MlflowTracker(run)
    started = time.monotonic()
    for epoch in range(1, 6):  # nobody listens yet
        tracker.log(Entry("train", epoch, {"reward/mean": float(epoch)}))
    assert time.monotonic() - started < 30  # one attempt, then a pause; MLflow's own defaults wait minutes a call
    assert tracker.run_id is None

    first = server()
    MlflowTracker(run).log(Entry("train", 6, {"reward/mean": 6.0}))
    first.kill()
    MlflowTracker(run).log(Entry("train", 7, {"reward/mean": 7.0}))
    server()
    MlflowTracker(run).log(Entry("train", 8, {"reward/mean": 8.0}))

    assert points(run, "reward/mean") == [(epoch, float(epoch)) for epoch in range(1, 9)]


@pytest.mark.slow
@pytest.mark.xdist_group("mlflow-server")
def test_two_writers_at_once_and_a_resumed_run_end_in_one_run_with_every_point_once(begun, server_uri):
    run = begun(tracking={"uri": server_uri, "timeout_seconds": 30})
    config = run.config.model_dump_json()

    writers = [subprocess.Popen([sys.executable, "-c", WRITER, config, name]) for name in ("sample", "train")]
    assert [writer.wait() for writer in writers] == [0, 0]
    MlflowTracker(run).set_status("FINISHED")
    MlflowTracker(run).set_status("RUNNING")  # the run is taken up again; what was sent is sent once more
    for name in run.store.names("journal"):
        if name.endswith(".sent"):
            (Path(run.uri) / "journal" / name).unlink()
    MlflowTracker(run).log(Entry("train", 6, {"train/value": 6.0}))

    client = MlflowClient(MlflowTracker(run).uri)
    (only,) = client.search_runs([client.get_experiment_by_name("reward-finetuning").experiment_id])
    assert points(run, "train/value") == [(epoch, float(epoch)) for epoch in range(1, 7)]
    assert points(run, "sample/value") == [(epoch, float(epoch)) for epoch in range(1, 6)]
    assert points(run, "both") == [(epoch, epoch + part) for epoch in range(1, 6) for part in (0.0, 0.5)]
    assert only.info.run_id == MlflowTracker(run).run_id


@pytest.mark.slow
@pytest.mark.xdist_group("mlflow-server")
def test_tasks_that_send_the_same_entry_at_once_do_not_make_it_a_refused_one(begun, server_uri):
    run = begun(tracking={"uri": server_uri, "timeout_seconds": 30})
    MlflowTracker(run).flush()
    for epoch in range(1, 7):  # two entries of one millisecond with a point in common
        Journal(run).add(Entry("sample", epoch, {"both": float(epoch)}))
        entry = run.store.read_json(f"journal/{epoch:04d}-sample.json")
        metrics = {"both": float(epoch)} | {f"train/{index}": float(epoch) for index in range(30)}
        run.store.create_json(f"journal/{epoch:04d}-train.json", {**entry, "metrics": metrics})
    trackers = [MlflowTracker(run) for _ in range(4)]

    with ThreadPoolExecutor(len(trackers)) as threads:
        assert all(threads.map(MlflowTracker.flush, trackers))

    assert [name for name in run.store.names("journal") if name.endswith(".refused")] == []
    assert points(run, "train/29") == [(epoch, float(epoch)) for epoch in range(1, 7)]


@pytest.mark.slow
@pytest.mark.xdist_group("mlflow-server")
def test_pictures_pages_and_the_champion_go_through_the_server(nudged_run, server_uri, tmp_path):
    run = nudged_run(
        {1: 0.5},
        model={"trainable": "lora"},
        tracking={"uri": server_uri, "timeout_seconds": 30},
        evaluation={"images_per_prompt": 8},
        promotion={"keep_on": []},
    )
    policy = policy_of_epoch(run, 1)
    tracker = MlflowTracker(run)

    tracker.log(evaluation_entry(run, policy))
    write_reference(str(tmp_path / "policy"), policy)
    promoted = promote(run.config.model_dump_json(), str(tmp_path / "policy"))

    client = MlflowClient(tracker.uri)
    assert promoted["champion"] == "models:/tiny/1"
    run_at_server = client.get_run(tracker.run_id)
    assert run_at_server.info.artifact_uri.startswith("mlflow-artifacts:/")
    assert run_at_server.data.tags["champion"] == "models:/tiny/1"
    page = client.download_artifacts(tracker.run_id, "reports/epoch_00001.html", str(tmp_path))
    assert "<title>page</title>" in Path(page).read_text()
    champion = client.get_model_version_by_alias("tiny", "champion")
    files = [file.path for file in client.list_logged_model_artifacts(champion.tags["logged_model"])]
    assert {"README.md", "model_index.json", "unet"} <= set(files)
