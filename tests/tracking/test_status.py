"""How a run stands in MLflow, a real store on sqlite, after a step failed or was killed."""

import pytest
from mlflow.tracking import MlflowClient

from reward_finetuning.config import RetryableError, TrainingError, UserError
from reward_finetuning.steps.program import step
from reward_finetuning.tracking import Entry, MlflowTracker


@pytest.fixture
def running(begun):
    """A run that MLflow has as RUNNING."""
    run = begun()
    tracker = MlflowTracker(run)
    tracker.log(Entry("train", 1, {"reward/mean": 0.5}))
    tracker.set_status("RUNNING")
    return run


def status(run):
    tracker = MlflowTracker(run)
    return MlflowClient(tracker.uri).get_run(tracker.run_id).info.status


@step
def failing_step(config, error):
    raise error


@pytest.mark.parametrize("error", [UserError("a"), TrainingError("b"), RetryableError("c"), KeyError("d")])
def test_a_run_whose_step_fails_ends_failed(running, error):
    with pytest.raises(type(error)):
        failing_step(running.config.model_dump_json(), error)

    assert status(running) == "FAILED"


def test_a_finished_run_stays_finished(running):
    MlflowTracker(running).set_status("FINISHED")

    with pytest.raises(UserError):
        failing_step(running.config.model_dump_json(), UserError("a"))

    assert status(running) == "FINISHED"


def test_a_step_with_other_settings_does_not_end_the_run_whose_directory_it_is(running, run_config):
    other = run_config(seed=5)

    with pytest.raises(UserError):
        failing_step(other.model_dump_json(), UserError("other settings"))

    assert status(running) == "RUNNING"


def test_a_killed_run_is_killed_unless_its_step_could_say_that_it_failed(running, run_config):
    MlflowTracker(running).end("FAILED")
    MlflowTracker(running).end("KILLED")
    failed = status(running)
    MlflowTracker(running).set_status("RUNNING")
    MlflowTracker(running).end("KILLED")

    assert (failed, status(running)) == ("FAILED", "KILLED")


def test_a_run_that_mlflow_does_not_know_is_not_created_for_its_end(begun):
    run = begun()

    MlflowTracker(run).end("FAILED")

    assert MlflowTracker(run).run_id is None
