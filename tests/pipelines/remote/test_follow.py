"""Following a run on both services, through their real clients; what training would do is done by hand."""

import io
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from rich.console import Console

from pipelines.graphs.package import compile_package
from pipelines.remote.clients import Package, connect
from pipelines.remote.follow import Follow
from pipelines.remote.service import settings_of
from pipelines.remote.submit import run_prefix, submit_next
from reward_finetuning.config import RetryableError, TrainingError
from reward_finetuning.storage import Reference, RunDirectory


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
    return Package(path, {"config": run.config.model_dump_json()})


@pytest.fixture
def follow(service, run, package):
    """Follows to the end; returns what was said."""

    def go(retries=1):
        said = io.StringIO()
        client = connect(settings_of(service.target, service.cluster))
        try:
            Follow(client, run, package, Console(file=said, width=300), retries, 0.02).to_the_end()
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
    assert work.jobs[0].parameters == {"config": run.config.model_dump_json()}
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
    assert "was canceled by someone" in str(error)
    assert len(service.names()) == 1


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
