"""`rft schedule` on both services."""

import threading

import pytest

pytestmark = pytest.mark.slow

CRON = ["--cron", "30 3 * * MON-FRI"]


def made(service):
    """What the service holds, oldest first."""
    return list((service.server.recurring_runs if service.target == "kfp" else service.server.schedules).values())


@pytest.fixture
def trained_on(compiled_config):
    """A function: (service, schedule) -> prompts.train of what the schedule runs."""

    def prompts(service, schedule):
        if service.target == "kfp":
            version = schedule["pipeline_version_reference"]["pipeline_version_id"]
            spec = service.server.versions[version]["pipeline_spec"]["pipeline_spec"]
        else:
            spec = schedule["createPipelineJobRequest"]["pipelineJob"]["pipelineSpec"]
        return compiled_config(spec)["prompts"]["train"]

    return prompts


def listed(rft, to_service):
    """The table's rows without its header."""
    done = rft("schedule", "list", *to_service)
    assert done.code == 0, done.err
    return [line.split() for line in done.out.splitlines()[1:]]


def test_a_schedule_is_created_listed_paused_resumed_and_deleted(rft, run_file, service, to_service):
    created = rft("schedule", "create", run_file(), *CRON, "--name", "nightly", *to_service)
    active = listed(rft, to_service)
    paused = rft("schedule", "pause", "nightly", *to_service), listed(rft, to_service)
    resumed = rft("schedule", "resume", "nightly", *to_service), listed(rft, to_service)
    deleted = rft("schedule", "delete", "nightly", *to_service), rft("schedule", "list", *to_service)

    assert created.code == paused[0].code == resumed[0].code == deleted[0].code == 0, created.err
    assert "nightly: created, 30 3 * * 1-5 in UTC" in created.out
    assert active[0][:8] == ["nightly", "30", "3", "*", "*", "1-5", "UTC", "active"]
    assert len(active[0]) == 11  # the next run's date, time and zone
    assert paused[1][0][7:] == ["paused"]
    assert resumed[1] == active
    assert "no schedules" in deleted[1].out


def test_one_run_at_a_time_and_nothing_is_caught_up_on(rft, run_file, service, to_service):
    rft("schedule", "create", run_file(), *CRON, *to_service)
    rft("schedule", "pause", "tiny", *to_service)
    rft("schedule", "resume", "tiny", *to_service)

    (schedule,) = made(service)
    if service.target == "kfp":
        assert schedule["trigger"]["cron_schedule"]["cron"] == "0 30 3 * * 1-5"
        assert schedule["max_concurrency"] in {1, "1"}
        assert schedule["no_catchup"] is True
    else:
        assert schedule["cron"] == "TZ=UTC 30 3 * * 1-5"
        assert schedule["maxConcurrentRunCount"] == schedule["maxConcurrentActiveRunCount"] == "1"
        assert not schedule.get("allowQueueing")
        assert not schedule.get("catchUp")


@pytest.mark.parametrize("service", ["kfp"], indirect=True)
def test_kubeflow_gets_a_version_of_a_pipeline_and_not_the_whole_package(rft, run_file, service, to_service):
    rft("schedule", "create", run_file(), *CRON, *to_service)
    rft("schedule", "replace", run_file(), *CRON, *to_service)

    (pipeline,) = service.server.pipelines.values()
    (schedule,) = made(service)
    assert pipeline["display_name"] == "tiny"
    assert "pipeline_spec" not in schedule
    assert schedule["pipeline_version_reference"]["pipeline_version_id"] == list(service.server.versions)[-1]
    assert len(service.server.versions) == 2


def test_what_is_due_runs_with_the_prompts_that_were_given(rft, run_file, service, to_service, work, compiled_config):
    rft("schedule", "create", run_file(), *CRON, "--prompts", "gs://bucket/prompts/current.json", *to_service)

    service.server.come_due("tiny")
    while not work.jobs:
        threading.Event().wait(0.01)
    row = listed(rft, to_service)[0]

    assert compiled_config(work.jobs[0].spec)["prompts"]["train"] == "gs://bucket/prompts/current.json"
    assert len(row) == 14  # the last run's date, time and zone
    assert rft("submit", run_file(), *to_service).out.count("submitted") == 1  # a scheduled run is nobody's to follow


def test_a_name_is_taken_once(rft, run_file, service, to_service):
    rft("schedule", "create", run_file(), *CRON, *to_service)

    again = rft("schedule", "create", run_file(), *CRON, *to_service)
    unknown = rft("schedule", "delete", "tony", *to_service)

    assert again.code == unknown.code == 2
    assert "there is a schedule 'tiny' already; use rft schedule replace, or another --name" in again.err
    assert "there is no schedule 'tony'; there are: tiny" in unknown.err
    assert len(made(service)) == 1


def test_replacing_makes_the_new_one_and_then_deletes_the_old(rft, run_file, service, to_service, trained_on):
    rft("schedule", "create", run_file(), *CRON, "--name", "other", *to_service)
    rft("schedule", "create", run_file(), *CRON, *to_service)

    done = rft("schedule", "replace", run_file(), "--cron", "0 5 * * *", "--prompts", "animals", *to_service)

    other, new = made(service)
    assert done.code == 0, done.err
    assert "tiny: replaced, 0 5 * * * in UTC" in done.out
    assert (trained_on(service, other), trained_on(service, new)) == ("shapes:train", "animals")
    verbs = [method for method, path, _ in service.server.requests if "chedules" in path or "recurring" in path]
    assert verbs[-1] == "DELETE"


def test_a_paused_schedule_stays_paused_when_it_is_replaced(rft, run_file, service, to_service):
    rft("schedule", "create", run_file(), *CRON, *to_service)
    rft("schedule", "pause", "tiny", *to_service)

    done = rft("schedule", "replace", run_file(), "--cron", "0 5 * * *", *to_service)

    assert "paused" in done.out
    assert listed(rft, to_service)[0][7] == "paused"


def test_a_replacement_that_was_interrupted_is_finished_by_the_same_command(rft, run_file, service, to_service):
    rft("schedule", "create", run_file(), *CRON, *to_service)
    service.server.refuse_next = "DELETE"

    broken = rft("schedule", "replace", run_file(), *CRON, *to_service)
    left = len(made(service))
    again = rft("schedule", "replace", run_file(), *CRON, *to_service)

    assert (broken.code, left, again.code) == (75, 2, 0), broken.err
    assert len(made(service)) == 1


@pytest.mark.parametrize("service", ["kfp"], indirect=True)
def test_kubeflow_s_time_zone_is_its_installation_s(rft, run_file, service, to_service):
    other = rft("schedule", "create", run_file(), *CRON, "--timezone", "Asia/Tokyo", *to_service)
    own = rft("schedule", "create", run_file(), *CRON, "--timezone", "UTC", *to_service)

    assert (other.code, own.code) == (2, 0), own.err
    assert "in the time zone of its installation, UTC, not in Asia/Tokyo" in other.err
    assert len(service.server.recurring_runs) == 1
    assert len(service.server.versions) == 1  # nothing was uploaded for the one that was refused


@pytest.mark.parametrize("service", ["vertex"], indirect=True)
def test_vertex_takes_any_time_zone(rft, run_file, service, to_service):
    done = rft("schedule", "create", run_file(), *CRON, "--timezone", "Europe/Berlin", *to_service)

    assert done.code == 0, done.err
    assert made(service)[0]["cron"] == "TZ=Europe/Berlin 30 3 * * 1-5"
    assert listed(rft, to_service)[0][6:] == ["Europe/Berlin", "active", "2030-01-07", "03:00", "CET"]


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--cron", "* *"], "has 2 fields; five are needed"),
        ([*CRON, "--timezone", "Mars"], "no time zone 'Mars'"),
        ([*CRON, "--name", "Nightly run"], "a schedule's name is 1-63 small letters"),
        ([*CRON, "--prompts", "local.txt"], "pods cannot read what lies on this machine: prompts.train=local.txt"),
    ],
)
def test_what_is_wrong_is_refused_before_anything_is_sent(rft, run_file, service, to_service, options, why):
    done = rft("schedule", "create", run_file(), *options, *to_service)

    assert done.code == 2
    assert why in done.err
    assert service.server.requests == []
