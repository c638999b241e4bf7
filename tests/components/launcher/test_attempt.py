"""One attempt against a loopback Kubernetes API."""

import json
import signal
import subprocess
import sys
import time

import pytest
from servers import kubernetes

from reward_finetuning.components.launcher.attempt import run_to_end
from reward_finetuning.config import RetryableError, TrainingError, UserError


def words(error, message, rank=1):
    return json.dumps({"error": error, "message": message, "rank": str(rank)})


def test_a_job_is_made_waited_for_and_deleted_when_it_is_complete(server, job, settings, capsys):
    server.life = ["Suspended", "started", "started", "Complete"]

    run_to_end(job(), settings())

    assert server.made() == 1
    assert server.jobs == {}
    said = capsys.readouterr().out
    assert [state in said for state in ("suspended", "started, active 1", "complete")] == [True] * 3


@pytest.mark.parametrize(("keep", "stays"), [("never", False), ("failed", False), ("always", True)])
def test_a_complete_job_stays_where_it_is_asked_to(server, job, settings, keep, stays):
    run_to_end(job(keep=keep), settings(keep=keep))

    assert bool(server.jobs) is stays


def test_a_job_that_is_there_already_is_waited_for(server, job, settings, capsys):
    server.life = ["started", "started", "Complete"]
    server.create("team", job())

    run_to_end(job(), settings())

    assert server.made() == 1  # refused with 409
    assert "is running: this task waits for it" in capsys.readouterr().out


def test_a_job_of_another_spec_that_is_at_work_is_an_error_that_says_what_to_do(server, job, settings):
    server.life = ["started"]
    server.create("team", job(image="trainer:2"))

    with pytest.raises(UserError, match=r"another spec.*kubectl -n team delete trainjob prdp-e0003-"):
        run_to_end(job(), settings())


@pytest.mark.parametrize("state", ["Failed", "Complete"])
def test_a_finished_job_of_an_earlier_attempt_is_made_anew(server, job, settings, state):
    server.create("team", job(image="trainer:2"))
    (old,) = server.jobs.values()
    server.life = [state, "started", "Complete"]
    original = server.create

    def create(namespace, manifest):
        status, answer = original(namespace, manifest)
        if status == 201:
            server.life = ["started", "Complete"]
        return status, answer

    server.create = create

    run_to_end(job(), settings(keep="always"))

    (new,) = server.jobs.values()
    assert new["spec"]["trainer"]["image"] == "trainer:1"
    assert new is not old


def test_a_failure_carries_the_jobs_message_and_may_be_tried_again(server, job, settings):
    server.life = ["started", "Failed"]

    with pytest.raises(RetryableError, match="FailedJobs: jobset failed due to one or more job failures"):
        run_to_end(job(), settings())

    assert len(server.jobs) == 1  # for a look at its logs


@pytest.mark.parametrize("kind", [UserError, TrainingError, RetryableError])
def test_what_a_process_said_of_its_failure_is_raised_here(server, job, settings, kind):
    server.life = ["started", "Failed"]
    server.words = [
        words("RuntimeError", "Connection closed by peer"), "Traceback ...", words(kind.__name__, "the reason")
    ]  # fmt: skip

    with pytest.raises(kind, match="the reason"):
        run_to_end(job(), settings())


def test_an_error_that_no_retry_heals_ends_the_job_at_once(server, job, settings):
    """Its pods would be started again and again."""
    server.life, server.words = ["started"], [words("TrainingError", "the gradient is not finite")]

    with pytest.raises(TrainingError, match="not finite"):
        run_to_end(job(), settings())

    assert server.jobs == {}


@pytest.mark.slow
def test_a_job_that_takes_too_long_is_deleted(server, job, settings):
    server.life = ["Suspended"]

    with pytest.raises(RetryableError, match=r"not complete after 1 s.*suspended.*pools.train.timeout"):
        run_to_end(job(), settings(timeout_seconds=1))

    assert server.jobs == {}


def test_a_job_that_somebody_deleted_is_an_error(server, job, settings):
    server.life = ["started"]
    look = server.look

    def looked(name):
        server.jobs.pop(name)
        return look(name)

    server.look = looked

    with pytest.raises(RetryableError, match="was deleted before it was complete"):
        run_to_end(job(), settings())


def test_lost_connections_and_busy_servers_are_asked_again(server, job, settings, capsys):
    server.lost, server.answers = 3, [(503, "busy"), (429, "slow down")]
    server.life = ["started", "Complete"]

    run_to_end(job(), settings())

    assert server.made() == 1
    assert "cannot be reached" in capsys.readouterr().out


def test_an_answer_that_is_lost_after_the_job_was_made_makes_no_second_one(server, job, settings):
    create, server.life = server.create, ["started", "Complete"]

    def created_and_lost(namespace, manifest):
        server.create = create
        create(namespace, manifest)
        return 500, {"message": "etcdserver: request timed out"}

    server.create = created_and_lost

    run_to_end(job(), settings(keep="always"))

    assert len(server.jobs) == 1


RECORDED_DENIAL = (
    'spec.runtimePatches.manager: Invalid value: "reward-finetuning": must be a domain-prefixed path '
    '(such as "acme.io/foo")'
)


def test_a_missing_right_is_reported_as_a_missing_right(server, job, settings):
    server.answers = [(403, kubernetes.forbidden("create"))]

    with pytest.raises(UserError, match=r"needs get, create and delete of trainjobs.*cannot create resource") as raised:
        run_to_end(job(), settings())

    assert "rft-evaluator" in str(raised.value)


def test_the_denial_of_a_webhook_reaches_the_user_as_it_is_and_blames_no_right(server, job, settings):
    server.answers = [(403, kubernetes.denied(RECORDED_DENIAL))]

    with pytest.raises(UserError) as raised:
        run_to_end(job(), settings())

    assert RECORDED_DENIAL in str(raised.value)
    assert "service account" not in str(raised.value)


def test_an_exceeded_quota_is_tried_again(server, job, settings):
    message = 'trainjobs "a" is forbidden: exceeded quota: team, requested: count/trainjobs=1, used: 5, limited: 5'
    server.answers = [(403, kubernetes.status("Forbidden", message, 403))]

    with pytest.raises(RetryableError, match="exceeded quota: team"):
        run_to_end(job(), settings())


def test_a_webhook_that_cannot_be_called_is_waited_for(server, job, settings, capsys):
    message = (
        'Internal error occurred: failed calling webhook "validator.trainjob.trainer.kubeflow.org": connection refused'
    )
    server.answers = [(500, kubernetes.status("InternalError", message, 500))]

    run_to_end(job(), settings())

    assert "failed calling webhook" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("status", "message", "expected"),
    [
        (404, "the server could not find the requested resource", "install Kubeflow Trainer"),
        (422, "spec.trainer.numNodes: must be positive", "numNodes: must be positive"),
    ],
)
def test_a_refusal_says_what_the_cluster_lacks(server, job, settings, status, message, expected):
    server.answers = [(status, message)]

    with pytest.raises(UserError, match=expected):
        run_to_end(job(), settings())


def test_without_a_cluster_the_error_says_so(job, settings, tmp_path, monkeypatch):
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "absent"))
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)

    with pytest.raises(UserError, match="no Kubernetes cluster is configured"):
        run_to_end(job(), settings())


@pytest.mark.slow
def test_a_launcher_that_is_killed_finds_its_job_when_it_is_started_again(server, job, settings, tmp_path):
    server.life = ["started"]
    (tmp_path / "job.json").write_text(json.dumps(job()))
    program = (
        "import json, sys; from reward_finetuning.components.launcher.attempt import run_to_end; "
        "from reward_finetuning.components.launcher.settings import TrainJobSettings; "
        f"run_to_end(json.load(open({str(tmp_path / 'job.json')!r})), TrainJobSettings.parse(sys.argv[1]))"
    )
    launcher = subprocess.Popen([sys.executable, "-c", program, settings().model_dump_json()])
    deadline = time.monotonic() + 120
    while not any(method == "GET" for method, _ in server.requests):
        assert launcher.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.05)
    launcher.send_signal(signal.SIGKILL)
    launcher.wait()
    (made,) = server.jobs.values()

    server.life = ["started"] * (made["looks"] + 2) + ["Complete"]
    run_to_end(job(), settings(keep="always"))

    assert list(server.jobs.values()) == [made]
