"""The journal of a run in a bucket: nothing is lost with a pod, nothing arrives twice."""

import json

import pytest
from mlflow.tracking import MlflowClient
from PIL import Image
from servers.faults import Fault

from reward_finetuning.config import UserError
from reward_finetuning.steps.promote import promote
from reward_finetuning.storage import Reference, cache, write_reference
from reward_finetuning.tracking import Dataset, Entry, MlflowTracker, check_server, history


@pytest.fixture
def run(begun, bucket, tmp_path):
    return begun(run_root=f"{bucket.uri}/runs", tracking={"uri": f"sqlite:///{tmp_path}/runs/mlflow.db"})


@pytest.fixture
def nowhere(begun, bucket):
    """A run that names no server."""
    return begun(run_root=f"{bucket.uri}/runs")


def points(tracker, key):
    history = MlflowClient(tracker.uri).get_metric_history(tracker.run_id, key)
    return sorted((point.step, point.value) for point in history)


def draw_grid(folder):
    Image.new("RGB", (8, 8), "red").save(folder / "grid.png")
    return {}


def test_a_pod_that_vanishes_before_it_sent_leaves_its_entry_to_the_next(run, monkeypatch):
    with monkeypatch.context() as vanishing:
        vanishing.setattr(MlflowTracker, "flush", lambda self: False)
        MlflowTracker(run).log(Entry("train", 1, {"reward/mean": 0.1}))

    tracker = MlflowTracker(run)
    tracker.log(Entry("train", 2, {"reward/mean": 0.2}))

    assert points(tracker, "reward/mean") == [(1, 0.1), (2, 0.2)]


@pytest.mark.slow
def test_a_pod_that_vanishes_before_it_marked_what_it_sent_doubles_nothing(bucket, run):
    bucket.faults.append(Fault(403, "upload", "sent$", times=10**6))
    MlflowTracker(run).log(Entry("train", 1, {"reward/mean": 0.1}))
    bucket.faults.clear()

    tracker = MlflowTracker(run)
    tracker.flush()

    assert points(tracker, "reward/mean") == [(1, 0.1)]
    assert run.store.names("journal") == ["0001-train.json", "0001-train.json.sent"]


def test_a_retry_that_reports_again_is_not_heard(run):
    for value in (0.1, 0.9):
        MlflowTracker(run).log(Entry("train", 1, {"reward/mean": value}))

    assert points(MlflowTracker(run), "reward/mean") == [(1, 0.1)]
    assert history(run)["reward/mean"] == [(1, 0.1)]


def test_pictures_are_sent_from_another_machine_than_the_one_that_drew_them(run):
    manifest = run.commit("epochs/0002/report-a", run.identity("report", 2, ""), draw_grid)
    cache.drop(manifest.checksum)

    tracker = MlflowTracker(run)
    tracker.log(Entry("evaluate", 2, {}, {"samples": "epochs/0002/report-a/grid.png"}))

    sent = [file.path for file in MlflowClient(tracker.uri).list_artifacts(tracker.run_id, "images")]
    assert len(sent) == 2


def test_a_prompt_set_in_a_bucket_is_an_input_in_a_bucket(bucket, run):
    tracker = MlflowTracker(run)
    tracker.log(Entry("begin", 0, {}, datasets=[Dataset("set", "d" * 64, f"{bucket.uri}/set.jsonl", 3, "training")]))

    (given,) = MlflowClient(tracker.uri).get_run(tracker.run_id).inputs.dataset_inputs
    assert (given.dataset.source_type, given.dataset.source) == (
        bucket.scheme,
        json.dumps({"uri": f"{bucket.uri}/set.jsonl"}),
    )


def test_a_run_with_nowhere_to_send_to_is_refused_before_any_work(bucket, nowhere, begun):
    with pytest.raises(UserError, match=rf"{bucket.uri}/runs cannot hold MLflow's sqlite file: set tracking.uri"):
        check_server(nowhere)

    check_server(begun(name="b", run_root=f"{bucket.uri}/runs", tracking={"enabled": False}))


def test_a_pod_that_was_not_told_of_the_server_keeps_its_points_and_says_so_once(bucket, nowhere, capsys):
    tracker = MlflowTracker(nowhere)
    for epoch in (1, 2):
        tracker.log(Entry("train", epoch, {"reward/mean": 0.1}))

    assert history(nowhere)["reward/mean"] == [(1, 0.1), (2, 0.1)]
    assert capsys.readouterr().out.count(f"warning: run_root {bucket.uri}/runs cannot hold") == 1


@pytest.mark.slow
def test_without_tracking_policies_compete_in_the_bucket(bucket, nudged_run, tmp_path):
    run = nudged_run(
        {1: 0.5},
        run_root=f"{bucket.uri}/runs",
        tracking={"enabled": False},
        evaluation={"images_per_prompt": 8},
        promotion={"keep_on": []},
    )
    path = str(tmp_path / "policy.json")
    write_reference(path, run.latest())

    assert promote(run.config.model_dump_json(), path)["promoted"]

    assert Reference.model_validate(run.store.read_json("champion.json")) == run.latest()
