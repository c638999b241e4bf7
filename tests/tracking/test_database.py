import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from mlflow.tracking import MlflowClient

from reward_finetuning.tracking import Entry, MlflowTracker, database
from reward_finetuning.tracking.database import ensure_database, sqlite_path, sqlite_uri

CREATE = "import sys; from pathlib import Path; from reward_finetuning.tracking.database import *; "
CREATE += "ensure_database(sqlite_uri(Path(sys.argv[1])))"


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    path = tmp_path_factory.mktemp("whole") / "mlflow.db"
    ensure_database(sqlite_uri(path))
    return path


@pytest.fixture
def half_made(tmp_path, whole):
    """A database whose tables are there, but whose migrations were cut off in the middle."""
    path = Path(shutil.copy(whole, tmp_path / "mlflow.db"))
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '451aebb31d03'")
    return path


@pytest.mark.parametrize("name", ["plain", "a%2Fb", "a#b", "a?b", "a b", "ü", "a%b"])
def test_b6_a_path_is_quoted_in_the_uri_and_read_back(name, tmp_path):
    path = tmp_path / name / "mlflow.db"

    assert sqlite_path(sqlite_uri(path)) == path


def test_a_server_is_no_file():
    assert sqlite_path("http://mlflow") is None


@pytest.mark.slow
def test_b6_a_database_whose_creation_was_cut_off_is_set_aside_and_created_anew(half_made):
    ensure_database(sqlite_uri(half_made))

    MlflowClient(sqlite_uri(half_made)).create_experiment("after")
    assert len(list(half_made.parent.glob("mlflow.db.incomplete-*"))) == 1


def test_a_database_of_another_version_that_has_runs_is_left_alone(half_made):
    with sqlite3.connect(half_made) as connection:
        connection.execute("INSERT INTO runs (run_uuid) VALUES ('a')")

    ensure_database(sqlite_uri(half_made))

    assert list(half_made.parent.glob("mlflow.db.incomplete-*")) == []
    with sqlite3.connect(half_made) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchone() == ("451aebb31d03",)


def test_a_locked_database_is_not_taken_for_a_broken_one(half_made, monkeypatch):
    monkeypatch.setattr(database, "_LOCKED_SECONDS", 0.1)
    with sqlite3.connect(half_made) as connection:
        connection.execute("BEGIN EXCLUSIVE")

        with pytest.raises(sqlite3.OperationalError, match="locked"):
            ensure_database(sqlite_uri(half_made))

    assert half_made.is_file()


@pytest.mark.slow
def test_b6_a_kill_at_any_moment_of_the_creation_leaves_a_store_that_the_next_task_creates(tmp_path):
    path = tmp_path / "mlflow.db"
    for seconds in (0.5, 1.0, 1.5):
        process = subprocess.Popen([sys.executable, "-c", CREATE, str(path)], stderr=subprocess.DEVNULL)
        while not list(tmp_path.glob(".mlflow.db.*-journal")) and process.poll() is None:
            time.sleep(0.01)
        time.sleep(seconds)
        if process.poll() is None:
            os.kill(process.pid, signal.SIGKILL)
        process.wait()

    ensure_database(sqlite_uri(path))

    MlflowClient(sqlite_uri(path)).create_experiment("after")
    assert [each.name for each in tmp_path.glob(".mlflow.db.*")] == [".mlflow.db.lock"]


def test_b6_a_run_root_with_signs_of_urls_keeps_its_database_inside(begun, tmp_path):
    root = tmp_path / "a%2Fb#c?d"

    run = begun(run_root=str(root))
    MlflowTracker(run).log(Entry("train", 1, {"a": 1.0}, references={"checkpoints/a.json": {"uri": "x"}}))

    tracker = MlflowTracker(run)
    assert (root / "mlflow.db").is_file()
    client = MlflowClient(tracker.uri)
    assert [each.value for each in client.get_metric_history(tracker.run_id, "a")] == [1.0]
    assert [each.path for each in client.list_artifacts(tracker.run_id, "checkpoints")] == ["checkpoints/a.json"]
    assert any((root / "mlflow-artifacts").rglob("a.json"))
