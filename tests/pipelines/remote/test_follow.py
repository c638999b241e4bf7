"""Following a run on both services, through their real clients; what training would do is done by hand."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console

from reward_finetuning.config import RetryableError, TrainingError, UserError
from reward_finetuning.pipelines.graphs.first_task import parameters
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.remote.clients import Package, connect
from reward_finetuning.pipelines.remote.follow import Clock, Follow
from reward_finetuning.pipelines.remote.service import settings_of
from reward_finetuning.pipelines.remote.submit import run_prefix, submit_next
from reward_finetuning.storage import Reference, RunDirectory
from reward_finetuning.storage.refusal import write_refusal

pytestmark = pytest.mark.slow


@pytest.fixture
def run(run_config):
    return RunDirectory(run_config(loop={"epochs": 3}))


@pytest.fixture
def trained(run):
    """A factory of steps that do the run's epochs up to one, and after the last one write its report."""

    def make(epoch, error=None):
        def step():
            for each in range(run.latest().epoch + 1, epoch + 1):
                run.advance(Reference(name=run.name(each, "policy"), epoch=each))
            if epoch == run.config.loop.epochs:
                (Path(run.uri) / run.name(epoch, "report-x")).mkdir(parents=True, exist_ok=True)
            return error

        return step

    return make


@pytest.fixture
def package(service, run, tmp_path):
    path = compile_package(run.config, service.target, tmp_path / "package.yaml")
    return Package(path, parameters(run.config))


@pytest.fixture
def follow(service, run, package):
    """Follows to the end; returns what was said."""

    def go(retries=1, clock=None):
        said = io.StringIO()
        client = connect(settings_of(service.target, service.cluster))
        try:
            Follow(client, run, package, Console(file=said, width=300), retries, 0.02, clock or Clock()).to_the_end()
        finally:
            go.said = said.getvalue()
        return go.said

    return go


def in_thread(action):
    """`action` beside the test; the future has its error, if there was one."""
    with_one_thread = ThreadPoolExecutor(1)
    future = with_one_thread.submit(action)
    with_one_thread.shutdown(wait=False)
    return future


def until(condition):
    pause = threading.Event()
    for _ in range(3000):
        if condition():
            return
        pause.wait(0.01)
    raise AssertionError("it never came")


def test_the_same_package_is_submitted_until_all_epochs_are_done(service, run, work, trained, follow):
    work.plan = [trained(1), trained(2), trained(3)]

    said = follow()

    prefix = run_prefix(run.config)
    assert service.names() == [f"{prefix}1", f"{prefix}2", f"{prefix}3"]
    assert work.jobs[0].spec == work.jobs[2].spec
    assert work.jobs[0].parameters == {"run": run.uri, "options": ""}
    assert [line.strip() for line in said.splitlines() if "epoch" in line] == [f"epoch {n} of 3" for n in (1, 2, 3)]
    assert said.count("succeeded") == 3


def test_a_run_that_is_done_is_not_submitted(service, work, trained, follow):
    trained(3)()

    follow()

    assert service.names() == []


def test_a_run_that_fails_after_some_progress_is_submitted_again(service, work, trained, follow):
    work.plan = [trained(1, "the node was lost"), trained(2, "the node was lost"), trained(3)]

    said = follow(retries=0)

    assert len(service.names()) == 3
    assert said.count("failed: the node was lost") == 2


def test_runs_without_progress_end_it_with_the_service_s_reason(service, work, trained, follow):
    work.plan = [trained(1), lambda: "no GPU", trained(2), lambda: "no GPU", lambda: "no GPU", trained(3)]

    with pytest.raises(TrainingError) as error:
        follow()

    assert len(service.names()) == 5
    assert "2 runs in a row ended without an epoch after 2" in str(error.value)
    assert "no GPU" in str(error.value)


def test_a_run_that_succeeds_without_an_epoch_more_is_no_progress_either(service, follow):
    with pytest.raises(TrainingError, match=r"2 runs in a row ended without an epoch after 0.*succeeded"):
        follow()

    assert len(service.names()) == 2


def test_what_fails_after_the_last_epoch_is_done_again(service, work, trained, follow):
    work.plan = [trained(3, "promotion failed")]

    follow()

    assert len(service.names()) == 2


def test_a_canceled_run_is_not_submitted_again(service, work, follow):
    work.plan = [work.wait]
    following = in_thread(follow)
    until(lambda: work.jobs)

    service.cancel(service.names()[0])
    error = following.exception()

    assert isinstance(error, RetryableError)
    assert "was terminated by someone" in str(error)
    assert len(service.names()) == 1


@pytest.mark.parametrize("service", ["kfp"], indirect=True)
def test_a_terminated_run_of_kubeflow_ends_as_failed_and_is_known_by_its_history(service, work, follow):
    work.plan = [work.wait]
    following = in_thread(follow)
    until(lambda: work.jobs)

    service.cancel(service.names()[0])
    following.exception()

    (run,) = service.server.runs.values()
    assert [each["state"] for each in run["state_history"]] == ["RUNNING", "CANCELING", "FAILED"]
    assert run["state"] == "FAILED"
    assert "  canceled" in follow.said


def test_tasks_at_work_failed_attempts_and_waiting_tasks_are_shown_as_they_come(service, work, trained, follow):
    work.plan = [lambda: work.wait() or trained(3)()]
    seconds = [0.0]
    following = in_thread(lambda: follow(clock=Clock(now=lambda: seconds[0])))
    until(lambda: work.jobs)
    name, errors = service.names()[0], {("next-epochs", 0): "UserError: gs://bucket/prompts.txt does not exist"}

    service.server.show_tasks(name, {"next-epochs": ["FAILED", "RUNNING"]}, errors)
    asked = len(service.server.requests)
    until(lambda: len(service.server.requests) > asked + 8)
    service.server.show_tasks(name, {"next-epochs": ["FAILED", "SUCCEEDED"], "sample": ["PENDING"]}, errors)
    asked = len(service.server.requests)
    until(lambda: len(service.server.requests) > asked + 8)
    seconds[0] = 600.0
    until(lambda: len(service.server.requests) > asked + 20)
    work.released.set()

    assert following.exception() is None
    lines = [line.strip() for line in follow.said.splitlines()]
    assert lines.count("next-epochs: attempt 1 failed: UserError: gs://bucket/prompts.txt does not exist") == 1
    assert lines.count("at work: next-epochs") == 1
    assert lines.count("sample: waiting for a machine for 10 minutes") == 1


def test_at_the_end_of_a_failed_run_the_task_and_the_end_of_its_log_are_shown(service, work, follow):
    def fail():
        name = service.names()[0]
        log = "epoch 1\nTraceback (most recent call last):\nRuntimeError: CUDA error: out of memory"
        service.server.show_tasks(name, {"run-epochs": ["FAILED", "FAILED"]}, {("run-epochs", 1): log})
        return "a task failed"

    work.plan = [fail]

    with pytest.raises(TrainingError, match=r"failed in run-epochs: .*; its logs: http"):
        follow(retries=0)

    assert "run-epochs failed in attempt 2" in follow.said
    if service.target == "kfp":
        assert "  | RuntimeError: CUDA error: out of memory" in follow.said


@pytest.mark.parametrize("service", ["kfp"], indirect=True)
@pytest.mark.parametrize(("kind", "code"), [(UserError, 2), (TrainingError, 3)])
def test_a_permanent_error_ends_the_run_within_two_minutes_of_its_first_attempt(service, work, run, follow, kind, code):
    work.plan = [work.wait]
    seconds = [0.0]

    def sleep(pause):
        seconds[0] += 30.0
        threading.Event().wait(0.01)

    following = in_thread(lambda: follow(clock=Clock(lambda: seconds[0], sleep)))
    until(lambda: work.jobs)
    (remote,) = service.server.runs.values()
    service.server.show_tasks(remote["display_name"], {"next-epochs": ["FAILED", "PENDING"]})
    before = seconds[0]

    write_refusal(run.store, remote["run_id"], "next_epochs", 1, kind("gs://bucket/prompts.txt does not exist"))
    error = following.exception()

    assert type(error) is kind
    assert error.exit_code == code
    assert "gs://bucket/prompts.txt does not exist (next_epochs, attempt 1" in str(error)
    assert remote["state"] == "FAILED"  # terminated by us, and not submitted again
    assert seconds[0] - before <= 120
    assert len(service.names()) == 1


@pytest.mark.parametrize("service", ["kfp"], indirect=True)
def test_corrected_inputs_start_at_once_though_the_refused_run_is_still_being_retried(
    service, work, run, package, trained, follow
):
    work.plan = [work.wait, trained(3)]
    client = connect(settings_of(service.target, service.cluster))
    refused = submit_next(client, package, run_prefix(run.config))
    service.server.show_tasks(refused.name, {"next-epochs": ["FAILED", "PENDING"]})
    write_refusal(run.store, refused.id, "next_epochs", 1, UserError("no such prompts"))

    follow()

    assert len(service.names()) == 2
    assert service.server.runs[refused.id]["state"] == "FAILED"


def test_who_comes_later_finds_the_run_that_is_going_on(service, package, work, trained, follow, run):
    work.plan = [lambda: work.wait() or trained(3)()]
    submit_next(connect(settings_of(service.target, service.cluster)), package, run_prefix(run.config))
    asked = len(service.server.requests)
    looks = in_thread(lambda: until(lambda: len(service.server.requests) > asked + 5) or work.released.set())

    said = follow()
    looks.result()

    assert service.names() == [f"{run_prefix(run.config)}1"]
    assert f"found {run_prefix(run.config)}1" in said


def test_the_number_goes_on_after_more_runs_than_a_page_holds(service, package, run):
    client = connect(settings_of(service.target, service.cluster))

    for _ in range(25):
        submit_next(client, package, run_prefix(run.config))

    assert service.names()[-1] == f"{run_prefix(run.config)}25"
    assert len(set(service.names())) == 25


def test_an_answer_that_got_lost_starts_no_second_run(service, work, trained, follow):
    work.plan = [lambda: work.wait() or trained(3)()]
    connect(settings_of(service.target, service.cluster)).runs("rft-")  # makes the experiment
    service.server.lose_next_answer_to = "POST"
    following = in_thread(follow)
    until(lambda: work.jobs and service.server.lose_next_answer_to is None)

    work.released.set()

    assert following.exception() is None
    assert len(service.names()) == 1
    assert "cannot be reached" in follow.said


def test_a_service_that_is_away_for_a_while_is_waited_for(service, work, trained, follow):
    work.plan = [lambda: work.wait() or trained(3)()]
    following = in_thread(follow)
    until(lambda: work.jobs)
    service.server.failures = [(503, "upstream\n is restarting")] * 3
    until(lambda: not service.server.failures)

    work.released.set()

    assert following.exception() is None
    assert "run the same command again; the server says: upstream is restarting" in follow.said


def test_a_raised_number_of_epochs_is_the_same_run_and_other_numbers_are_another(run_config):
    prefix = run_prefix(run_config(loop={"epochs": 3}))

    assert run_prefix(run_config(loop={"epochs": 5})) == prefix
    assert run_prefix(run_config(seed=1)) != prefix
    assert run_prefix(run_config(run_root="gs://elsewhere")) != prefix
    assert prefix.startswith("rft-tiny-")
