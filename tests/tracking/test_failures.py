"""Entries that MLflow refuses, runs that were deleted in it, and servers that are slow or down."""

import sqlite3
import threading
import time
from pathlib import Path

import pytest
from mlflow.exceptions import MlflowException
from mlflow.protos.databricks_pb2 import INVALID_PARAMETER_VALUE, PERMISSION_DENIED, TEMPORARILY_UNAVAILABLE
from mlflow.tracking import MlflowClient
from requests import ConnectionError as RequestsConnectionError

from reward_finetuning.config import ArtifactError, RetryableError, UserError
from reward_finetuning.tracking import Entry, MlflowTracker
from reward_finetuning.tracking.database import sqlite_path
from reward_finetuning.tracking.failures import is_refusal, within
from reward_finetuning.tracking.journal import Journal


def client_of(run):
    return MlflowClient(MlflowTracker(run).uri)


def values(run, key):
    tracker = MlflowTracker(run)
    return [each.value for each in client_of(run).get_metric_history(tracker.run_id, key)]


@pytest.mark.parametrize("name", ["(", "[", "..", "a//b"])
def test_b6_prompt_sets_of_any_name_reach_mlflow(begun, name):
    run = begun(evaluation={"prompt_sets": {name: "shapes:few"}})

    MlflowTracker(run).log(Entry("evaluate", 1, {f"eval/{name}/reward/gain": 1.0}))

    assert Journal(run).unsent(refused=True) == []


def test_b6_an_entry_that_is_refused_does_not_keep_the_others_back(begun, capsys):
    run = begun()
    run.store.create_json("journal/0001-bad.json", stored(1, {"images": {"samples": "epochs/0001/report-x/no.png"}}))

    for epoch in (2, 3):
        MlflowTracker(run).log(Entry("train", epoch, {"a": float(epoch)}))

    assert values(run, "a") == [2.0, 3.0]
    printed = capsys.readouterr().out
    assert printed.count("MLflow refuses 0001-bad.json: ArtifactError: no whole artifact") == 1  # said once
    assert run.store.read_json("journal/0001-bad.json.refused")["reason"].startswith("ArtifactError")


def test_b6_sync_sends_what_was_refused_before(begun):
    run = begun()
    run.store.create_json("journal/0001-bad.json", stored(1, {"metrics": {"b": 5.0}}))
    Journal(run).mark_refused("0001-bad.json", "an earlier version's mistake")

    num_sent, refusals = MlflowTracker(run).sync()

    assert (num_sent, refusals) == (1, [])
    assert values(run, "b") == [5.0]


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"metrics": {"a": "high"}}, "metrics.a"),
        ({"metrics": 3}, "metrics"),
        ({"epoch": "one"}, "epoch"),
        ({"datasets": [{"name": 1}]}, "datasets.0"),
        ({"evaluation": []}, "evaluation"),
    ],
)
def test_a_journal_file_of_wrong_types_is_one_clear_error(begun, change, field):
    run = begun()
    run.store.create_json("journal/0001-bad.json", stored(1, change))

    with pytest.raises(ArtifactError, match=rf"journal/0001-bad.json was altered.*: {field}"):
        Journal(run).entries()


@pytest.mark.parametrize("deleted", ["run", "experiment"])
def test_b6_what_was_deleted_in_mlflow_is_named_with_the_way_to_continue(begun, capsys, deleted):
    run = begun()
    MlflowTracker(run).log(Entry("train", 1, {"a": 1.0}))
    run_id = MlflowTracker(run).run_id
    client = client_of(run)
    experiment = client.get_run(run_id).info.experiment_id
    if deleted == "run":
        client.delete_run(run_id)
    else:
        client.delete_experiment(experiment)

    MlflowTracker(run).log(Entry("train", 2, {"a": 2.0}))

    printed = capsys.readouterr().out
    assert f"MLflow's run {run_id} was deleted; restore it with: mlflow runs restore --run-id {run_id}" in printed
    assert Journal(run).unsent() == ["0002-train.json"]
    with pytest.raises(UserError, match="then run rft sync"):
        MlflowTracker(run).sync()
    if deleted == "experiment":
        client.restore_experiment(experiment)
    else:
        client.restore_run(run_id)
    assert MlflowTracker(run).sync() == (1, [])
    assert values(run, "a") == [1.0, 2.0]


def test_b6_a_deleted_experiment_is_named_before_a_run_is_created(begun, capsys):
    first = begun()
    MlflowTracker(first).log(Entry("train", 1, {"a": 1.0}))
    client = client_of(first)
    client.delete_experiment(client.get_run(MlflowTracker(first).run_id).info.experiment_id)

    MlflowTracker(begun(name="second")).log(Entry("train", 1, {"a": 1.0}))

    assert "MLflow's experiment 'reward-finetuning' was deleted; restore it with" in capsys.readouterr().out


def test_b6_a_database_that_is_gone_is_named_and_everything_can_be_sent_anew(begun, capsys):
    run = begun()
    MlflowTracker(run).log(Entry("train", 1, {"a": 1.0}))
    with sqlite3.connect(sqlite_path(MlflowTracker(run).uri)) as connection:
        connection.execute("PRAGMA foreign_keys = OFF")
        connection.execute("DELETE FROM runs")

    MlflowTracker(run).log(Entry("train", 2, {"a": 2.0}))
    printed = capsys.readouterr().out
    assert "its data is gone, or is elsewhere; to send everything to a new MLflow run, delete mlflow.json" in printed

    folder = Path(run.uri)
    for each in [folder / "mlflow.json", *(folder / "mlflow").iterdir(), *(folder / "journal").glob("*.sent")]:
        each.unlink()
    assert MlflowTracker(run).sync() == (2, [])
    assert values(run, "a") == [1.0, 2.0]


@pytest.mark.slow
def test_b6_a_locked_database_costs_timeout_seconds_and_no_more(begun):
    run = begun(tracking={"timeout_seconds": 1.0})
    tracker = MlflowTracker(run)
    tracker.sync()
    with sqlite3.connect(sqlite_path(tracker.uri)) as connection:
        connection.execute("BEGIN EXCLUSIVE")
        started = time.monotonic()

        tracker.log(Entry("train", 1, {"a": 1.0}))

        assert time.monotonic() - started < 5  # MLflow itself waits for 20 seconds, several times
    assert Journal(run).unsent() == ["0001-train.json"]


def test_what_takes_too_long_is_left_alone():
    done = threading.Event()

    with pytest.raises(TimeoutError):
        within(0.05, lambda: done.wait(10))

    done.set()


def test_an_error_of_the_work_is_raised():
    with pytest.raises(ZeroDivisionError):
        within(5, lambda: 1 / 0)


@pytest.mark.parametrize(
    ("error", "refused"),
    [
        (MlflowException("bad name", INVALID_PARAMETER_VALUE), True),
        (MlflowException("busy", TEMPORARILY_UNAVAILABLE), False),
        (MlflowException("not you", PERMISSION_DENIED), False),
        (MlflowException("no connection"), False),
        (RequestsConnectionError(), False),
        (OSError("disk full"), False),
        (RetryableError("bucket is down"), False),
        (ArtifactError("altered"), True),
        (KeyError("metrics"), True),
    ],
)
def test_refused_is_not_down(error, refused):
    assert is_refusal(error) is refused


def stored(epoch, change):
    return {"epoch": epoch, "timestamp_ms": 1, "metrics": {}, "images": {}, "references": {}} | change
