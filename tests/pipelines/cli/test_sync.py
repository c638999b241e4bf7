import socket

import pytest
import typer
import yaml
from mlflow.tracking import MlflowClient

from reward_finetuning.config import RetryableError, UserError
from reward_finetuning.evaluation.exports import policy_of_epoch
from reward_finetuning.evaluation.reports import evaluation_entry
from reward_finetuning.pipelines.cli.status import status
from reward_finetuning.pipelines.cli.sync import send_if_done, sync
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import Entry, MlflowTracker
from reward_finetuning.tracking.journal import Journal


@pytest.fixture(autouse=True)
def _store(mlflow_store):
    """Every test here has one."""


@pytest.fixture
def missed(nudged_run):
    """A finished run; MLflow was down all the time."""
    run = nudged_run({1: 0.5}, loop={"epochs": 1, "evaluate_every": 1})
    Journal(run).add(Entry("train", 1, {"reward/mean": 0.25}))
    Journal(run).add(evaluation_entry(run, policy_of_epoch(run, 1)))
    return run


@pytest.fixture
def file_of(tmp_path):
    def write(run):
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(run.config.model_dump(mode="json")), encoding="utf-8")
        return path

    return write


@pytest.mark.slow
def test_b6_a_finished_run_sends_what_its_journal_still_holds(missed, capsys):
    send_if_done(missed)

    tracker = MlflowTracker(missed)
    client = MlflowClient(tracker.uri)
    run = client.get_run(tracker.run_id)
    assert run.data.metrics["reward/mean"] == 0.25
    assert run.info.status == "FINISHED"
    assert "2 journal entries of" in capsys.readouterr().out
    send_if_done(missed)
    assert capsys.readouterr().out == ""  # nothing was left to send


def test_b6_the_status_of_a_finished_run_sends_it_too(missed, file_of, capsys):
    status(file_of(missed))

    assert "2 journal entries of" in capsys.readouterr().out
    assert MlflowTracker(missed).num_unsent == 0


def test_an_unfinished_run_leaves_sending_to_its_tasks(nudged_run, capsys):
    run = nudged_run({1: 0.5}, loop={"epochs": 2, "evaluate_every": 1})
    Journal(run).add(Entry("train", 1, {"reward/mean": 0.25}))

    send_if_done(run)

    assert capsys.readouterr().out == ""


@pytest.mark.slow
def test_a_server_that_accepts_no_connection_costs_a_finished_run_only_a_warning(missed, free_port, capsys):
    tracking = missed.config.tracking.model_copy(update={"uri": f"http://127.0.0.1:{free_port}"})

    send_if_done(RunDirectory(missed.config.model_copy(update={"tracking": tracking})))

    assert "accepts no connection; rft sync sends the rest" in capsys.readouterr().err


def test_b6_sync_sends_everything_and_says_how_much(missed, file_of, capsys):
    sync(file_of(missed))
    sync(file_of(missed))

    first, second = [line for line in capsys.readouterr().out.splitlines() if "journal entries" in line]
    assert first.startswith("2 journal entries of")
    assert second.startswith("0 journal entries of")


def test_b6_sync_ends_with_code_2_if_mlflow_refuses_an_entry(missed, file_of):
    Journal(missed).add(Entry("broken", 1, {}, images={"samples": "epochs/0001/report-x/no.png"}))

    with pytest.raises(typer.Exit) as ended:
        sync(file_of(missed))

    assert ended.value.exit_code == 2
    assert Journal(missed).unsent(refused=True) == ["0001-broken.json"]


def test_sync_of_a_run_that_was_never_begun_is_the_users_mistake(run_config, file_of):
    with pytest.raises(UserError, match="holds no run; begin one with: rft run"):
        sync(file_of(RunDirectory(run_config())))


def test_sync_without_tracking_is_the_users_mistake(missed, file_of):
    with pytest.raises(UserError, match=r"tracking\.enabled is false"):
        sync(file_of(missed), ["tracking.enabled=false"])


def test_sync_to_a_server_that_is_down_may_be_run_again(missed, file_of, free_port):
    with pytest.raises(RetryableError, match="run it again later"):
        sync(file_of(missed), [f"tracking.uri=http://127.0.0.1:{free_port}", "tracking.timeout_seconds=1"])


@pytest.fixture
def free_port():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
