"""What an attempt of a task on Kubeflow leaves for the next ones."""

import pytest

from reward_finetuning.config import ArtifactError, RetryableError, TrainingError, UserError
from reward_finetuning.steps.attempts.attempt import attempt
from reward_finetuning.steps.program import step
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.refusal import read_refusal


@pytest.fixture
def run(run_config):
    return RunDirectory(run_config())


@pytest.fixture
def task(run, monkeypatch):
    """One attempt of a step in a pipeline run: raises the error, or returns."""

    def start(error=None, pipeline_run="first", retry=0, name="sample"):
        monkeypatch.setenv("KFP_RUN_ID", pipeline_run)
        monkeypatch.setenv("KFP_RETRY_INDEX", str(retry))
        worked = []

        def function(config):
            worked.append(config)
            if error is not None:
                raise error

        function.__name__ = name
        try:
            step(function)(run.config.model_dump_json())
        finally:
            start.worked = bool(worked)

    return start


@pytest.mark.parametrize("kind", [UserError, ArtifactError, TrainingError])
def test_a_permanent_error_is_recorded_with_its_class_task_and_attempt(run, task, kind):
    with pytest.raises(kind):
        task(kind("gs://bucket/prompts.txt does not exist"), retry=1)

    refusal = read_refusal(run.store)
    assert (refusal.pipeline_run, refusal.task, refusal.attempt) == ("first", "sample", 2)
    assert type(refusal.as_error()) is kind
    assert str(refusal.as_error()) == "gs://bucket/prompts.txt does not exist"


@pytest.mark.parametrize("error", [RetryableError("the store is away"), RuntimeError("a bug")])
def test_what_a_retry_may_heal_is_not_recorded(run, task, error):
    with pytest.raises(type(error)):
        task(error)

    assert read_refusal(run.store) is None


def test_the_next_attempts_and_the_other_tasks_of_the_pipeline_run_fail_at_once_with_the_same_error(run, task):
    with pytest.raises(UserError):
        task(UserError("no such prompts"))

    for name in ("sample", "train_epoch"):
        with pytest.raises(UserError, match="no such prompts"):
            task(retry=1, name=name)
        assert not task.worked


def test_a_later_pipeline_run_ignores_the_refusal_and_removes_it_when_a_task_succeeds(run, task):
    with pytest.raises(UserError):
        task(UserError("no such prompts"))

    with pytest.raises(RetryableError):
        task(RetryableError("the store is away"), pipeline_run="second")
    between = read_refusal(run.store)
    task(pipeline_run="second", retry=1)

    assert between.pipeline_run == "first"
    assert read_refusal(run.store) is None


def test_the_first_error_of_a_pipeline_run_stays_and_that_of_a_later_run_replaces_it(run, task):
    for message, pipeline_run in (("first error", "first"), ("other error", "second")):
        with pytest.raises(UserError, match=message):
            task(UserError(message), pipeline_run=pipeline_run)

    assert read_refusal(run.store).message == "other error"


def test_without_a_pipeline_run_and_in_one_of_several_processes_nothing_is_left(run, task, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(UserError):
        task(UserError("no such prompts"))
    monkeypatch.delenv("RANK")
    monkeypatch.delenv("KFP_RUN_ID")
    with pytest.raises(UserError), attempt("sample", run.config.model_dump_json(), {}):
        raise UserError("no such prompts")

    assert run.store.names("") == []


@pytest.mark.parametrize("config", ["no JSON", "{}", '{"name": "a", "run_root": "nowhere://bucket"}'])
def test_an_error_in_the_config_itself_is_raised_though_no_place_for_it_is_known(config, monkeypatch):
    monkeypatch.setenv("KFP_RUN_ID", "first")

    with pytest.raises(UserError, match="wrong"), attempt("next_epochs", config, {}):
        raise UserError("wrong")
