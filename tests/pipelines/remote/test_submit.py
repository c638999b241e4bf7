"""`rft submit` once, and everything that can stand in its way."""

import os
import signal
import socket
import sys
import threading

import pytest
from servers.rest import RestServer

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.remote.clients import Package
from reward_finetuning.pipelines.remote.clients.kubeflow import KubeflowClient
from reward_finetuning.pipelines.remote.preflight import check_package


@pytest.fixture
def to_kfp(monkeypatch, tmp_path):
    """Options that lead to a URL."""
    monkeypatch.delenv("KFP_TOKEN", raising=False)
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    return lambda url: ["--target", "kfp", "--host", url]


@pytest.mark.slow
def test_the_run_its_page_and_how_to_follow_it_are_printed(rft, run_file, service, to_service, work):
    work.plan = [work.wait]
    file = run_file()

    done = rft("submit", file, *to_service)
    again = rft("submit", file, *to_service)

    (name,) = service.names()
    assert done.code == again.code == 0, done.err
    assert f"{name}: submitted" in done.out
    assert "page  http" in done.out
    assert f"follow  rft submit {file} --target {service.target}" in done.out
    assert done.out.rstrip().endswith("--follow")
    assert f"{name}: already running, nothing was submitted" in again.out
    assert "details" not in done.out.replace("/#/runs/details/", "")  # what kfp itself prints


@pytest.mark.slow
def test_a_finished_run_is_followed_by_the_next_number(rft, run_file, service, to_service, work):
    file = run_file()

    for _ in range(2):
        rft("submit", file, *to_service)
        while not all(finished(run) for run in runs(service)):
            threading.Event().wait(0.01)

    assert [name[-2:] for name in service.names()] == ["-1", "-2"]


def runs(service):
    return list((service.server.runs if service.target == "kfp" else service.server.jobs).values())


def finished(run):
    return run["state"] in {"SUCCEEDED", "PIPELINE_STATE_SUCCEEDED"}


def errors(done):
    """Lines of stderr besides warnings: a test's cluster has neither a registry nor MLflow."""
    return [line for line in done.err.splitlines() if not line.startswith("rft: warning: ")]


LOCAL = {
    "run_root": {"run_root": "/home/me/runs"},
    "prompts.train": {"prompts": {"train": "hpdv2:prompts/hpd"}},
    "evaluation.prompt_sets.mine": {"evaluation": {"prompt_sets": {"mine": "prompts.txt"}}},
    "model.source": {"model": {"source": "./sd-v1-4"}},
    "reward.scorers.pickscore.source": {
        "reward": {"weights": {"pickscore": 1.0}, "scorers": {"pickscore": {"source": "/weights/pickscore"}}}
    },
    "tracking.uri": {"tracking": {"uri": "sqlite:///mlflow.db"}},
    "model.adapter": {"model": {"trainable": "lora", "adapter": "adapters/mine.safetensors"}},
    "warm_start.run_directory": {"warm_start": {"run_directory": "runs/shapes-prdp", "epoch": 3}},
}


@pytest.mark.parametrize("setting", LOCAL)
def test_what_no_pod_can_read_is_refused_before_anything_is_sent(rft, run_file, service, to_service, setting):
    done = rft("submit", run_file(**LOCAL[setting]), *to_service)

    assert done.code == 2
    assert f"pods cannot read what lies on this machine: {setting}=" in done.err
    assert len(errors(done)) == 1
    assert service.server.requests == []


def test_a_comparison_with_the_official_packages_is_made_here_or_not_at_all(rft, run_file, service, to_service):
    done = rft("submit", run_file(reward={"verify": 4}), *to_service)

    assert done.code == 2
    assert "reward.verify=4: pods have no official packages" in done.err
    assert service.server.requests == []


def test_a_hub_id_a_bucket_and_a_shared_folder_can_be_read_by_pods(rft, run_file, tmp_path, service, to_service):
    root = {"run_root": str(tmp_path / "runs")} if service.target == "kfp" else {}
    reward = {"weights": {"pickscore": 1.0}, "scorers": {"pickscore": {"source": "s3://weights/pickscore"}}}

    model = {"source": "owner/name", "revision": "0" * 40}
    done = rft("submit", run_file(model=model, reward=reward, **root), *to_service)

    assert done.code == 0, done.err


KNOWN = {
    "run_root=hdfs://bucket/runs": "gs://BUCKET/PREFIX or s3://BUCKET/PREFIX are supported, not hdfs://",
    "prompts.train=nfs://server/p.txt": "s3://BUCKET/PREFIX are supported, not nfs://",
    "model.source=acme/no-such-model": "a hub id needs model.revision, the commit of 40 hex digits",
    "reward={weights: {pickscore: 1.0}, scorers: {pickscore: {source: acme/score}}}": (
        "reward.scorers.pickscore: there is no folder acme/score; a hub id needs a revision"
    ),
}


@pytest.mark.parametrize("service", ["kfp"], indirect=True)
@pytest.mark.parametrize("setting", KNOWN)
def test_what_is_known_before_submitting_is_said_before_submitting(
    rft, run_file, service, to_service, setting, tmp_path
):
    file = run_file()

    compiled = rft("compile", file, "--output", tmp_path / "package.yaml", "-o", setting)
    submitted = rft("submit", file, *to_service, "-o", setting)
    scheduled = rft("schedule", "create", file, *to_service, "--cron", "0 3 * * 1", "-o", setting)

    for done in (compiled, submitted, scheduled):
        assert done.code == 2
        assert KNOWN[setting] in done.err
    assert service.server.requests == []


@pytest.mark.slow
@pytest.mark.parametrize("service", ["kfp"], indirect=True)
def test_prompts_in_a_bucket_are_looked_up_where_that_may_be_read(rft, run_file, bucket, service, to_service):
    file = run_file(prompts={"train": f"{bucket.uri}/prompts/absent.txt"})

    done = rft("submit", file, *to_service)

    assert done.code == 2
    assert f"{bucket.uri}/prompts/absent.txt does not exist" in done.err
    assert service.server.requests == []


@pytest.mark.parametrize("service", ["kfp"], indirect=True)
def test_a_retraining_prints_no_line_to_follow_it_by(rft, run_file, service, to_service):
    promotion = {"improve_on": ["train"], "keep_on": []}
    done = rft("submit", run_file(retraining={}, promotion=promotion), *to_service)

    assert done.code == 0, done.err
    assert "page  http" in done.out
    assert "--follow" not in done.out


def test_what_is_too_large_for_the_service_is_refused(tmp_path):
    package = tmp_path / "package.yaml"
    package.write_bytes(b"x" * (1024 * 1024 + 1))

    with pytest.raises(UserError, match=r"parameters are 10013 bytes, and Kubeflow Pipelines takes fewer than 10000"):
        check_package(Package(package, {"a": "x" * 10_004}))
    with pytest.raises(UserError, match=r"the package is 1024 KiB, more than 1024 KiB: lower loop.epochs_per_run"):
        check_package(Package(package, {}))


@pytest.mark.parametrize("service", ["kfp"], indirect=True)  # Vertex takes no run of a local folder
def test_interrupting_leaves_the_run_alone_and_says_so(
    rft, run_file, tmp_path, service, to_service, work, heeds_ctrl_c
):
    work.plan = [work.wait]
    looking = threading.Thread(target=interrupt_once_watched, args=(service.server,))
    looking.start()

    done = rft("submit", run_file(run_root=str(tmp_path / "runs")), *to_service, "--follow", "--poll", "0.05")
    looking.join()

    assert done.code == 130
    assert "the pipeline run continues. Run the same command to follow it again" in done.err
    assert runs(service)[0]["state"] == "RUNNING"


def interrupt_once_watched(server):
    """Ctrl-C once the run was looked at three times."""
    while sum(method == "GET" and "/runs/" in path for method, path, _ in list(server.requests)) < 3:
        threading.Event().wait(0.01)
    os.kill(os.getpid(), signal.SIGINT)


@pytest.mark.parametrize(
    ("failure", "code", "why"),
    [
        ((403, "User has no access\n to it"), 2, "no permission (403)"),
        ((400, "cannot\n be"), 2, "refuses the request (400): cannot be"),
        ((500, "database is down"), 75, "failed (500); run the same command again; the server says: database is down"),
    ],
)
def test_an_error_of_the_service_is_one_line(rft, run_file, service, to_service, failure, code, why):
    service.server.failures = [failure]

    done = rft("submit", run_file(), *to_service)

    assert done.code == code
    assert why in done.err
    assert len(errors(done)) == 1


def test_a_service_that_cannot_be_reached_may_be_asked_again(rft, run_file, to_kfp, google_key, monkeypatch, tmp_path):
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google_key))
    with socket.create_server(("127.0.0.1", 0)) as free:
        nowhere = f"http://127.0.0.1:{free.getsockname()[1]}"
    cluster = tmp_path / "cluster.yaml"
    cluster.write_text(f"vertex: {{project: p, pipeline_root: gs://b/r, endpoint: '{nowhere}'}}")

    kfp = rft("submit", run_file(), *to_kfp(nowhere))
    vertex = rft("submit", run_file(), "--target", "vertex", "--cluster", cluster)

    assert kfp.code == vertex.code == 75
    assert f"Kubeflow Pipelines at {nowhere} cannot be reached (NewConnectionError)" in kfp.err
    assert f"Vertex AI at {nowhere} cannot be reached (ConnectionError)" in vertex.err
    assert len(errors(kfp)) == len(errors(vertex)) == 1


@pytest.mark.parametrize("service", ["kfp"], indirect=True)
def test_a_token_comes_from_the_environment_and_is_never_shown(rft, run_file, service, to_service, monkeypatch):
    service.server.token = "right-secret"

    without = rft("submit", run_file(), *to_service)
    monkeypatch.setenv("KFP_TOKEN", "wrong-secret")
    wrong = rft("submit", run_file(), *to_service)
    monkeypatch.setenv("KFP_TOKEN", "right-secret")
    right = rft("submit", run_file(), *to_service)

    assert (without.code, wrong.code, right.code) == (2, 2, 0), right.err
    assert "a token is needed (401): put a valid one into $KFP_TOKEN" in without.err
    assert "the token in $KFP_TOKEN is not accepted (401)" in wrong.err
    assert "secret" not in without.err + wrong.err + wrong.out + right.out + right.err


@pytest.mark.parametrize("service", ["kfp"], indirect=True)
def test_a_pod_uses_its_own_token_and_reads_it_anew_when_it_was_renewed(service, monkeypatch, tmp_path):
    (tmp_path / "token").write_text("first\n")
    monkeypatch.setenv("KF_PIPELINES_SA_TOKEN_PATH", str(tmp_path / "token"))
    client = KubeflowClient(service.cluster.kfp)

    client.runs("rft-")
    (tmp_path / "token").write_text("second\n")
    client.runs("rft-")

    assert {authorization for _, _, authorization in service.server.requests} == {"Bearer first", "Bearer second"}


@pytest.mark.parametrize("service", ["kfp"], indirect=True)
def test_the_namespace_counts_where_there_are_several_users(rft, run_file, service, to_service):
    rft("submit", run_file(), *to_service, "--namespace", "ignored")
    service.server.multi_user = True
    service.server.experiments.clear()

    done = rft("submit", run_file(), *to_service, "--namespace", "others")
    mine = rft("submit", run_file(), *to_service, "--namespace", "team", "--experiment", "mine")

    assert done.code == 2
    assert "no permission (403) in namespace 'others'" in done.err
    assert mine.code == 0, mine.err
    (experiment,) = service.server.experiments.values()
    assert (experiment["display_name"], experiment["namespace"]) == ("mine", "team")


@pytest.mark.parametrize("service", ["kfp"], indirect=True)
def test_a_wrong_path_and_a_login_page_are_told_apart_from_the_api(rft, run_file, service, to_kfp):
    with RestServer({("GET", "/.*"): "page", ("POST", "/.*"): "page"}) as portal:
        portal.page = lambda *, query, body: "<html>log in</html>"
        login = rft("submit", run_file(), *to_kfp(portal.url))
    path = rft("submit", run_file(), *to_kfp(f"{service.server.url}/pipelines"))

    assert login.code == path.code == 2
    assert "answers, but not as Kubeflow Pipelines does (a login page?)" in login.err
    assert "not found (404); check --host" in path.err


def test_what_is_missing_or_belongs_to_the_other_service_is_said(rft, run_file, to_kfp, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("kfp: {hots: x}")
    given = {
        ("--target", "kfp"): "where is Kubeflow Pipelines? Give --host",
        ("--target", "kfp", "--project", "p"): "--project is an option of --target vertex, got --target kfp",
        ("--target", "kfp", "--host", "kubeflow"): "kfp.host: string should match pattern",
        ("--target", "kfp", "--cluster", str(wrong)): "kfp.hots",
        ("--target", "vertex"): "which Google Cloud project? Give --project",
        ("--target", "vertex", "--project", "p"): "give --pipeline-root gs://...",
    }

    for options, why in given.items():
        done = rft("submit", run_file(), *options)
        assert done.code == 2
        assert why in done.err


def test_vertex_without_its_package_or_without_a_login_says_what_to_do(rft, run_file, monkeypatch, tmp_path):
    vertex = ["--target", "vertex", "--project", "p", "--pipeline-root", "gs://b/r"]
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "none.json"))

    no_login = rft("submit", run_file(), *vertex)
    monkeypatch.setitem(sys.modules, "google.cloud.aiplatform_v1", None)
    no_package = rft("submit", run_file(), *vertex)

    assert no_login.code == no_package.code == 2
    assert "no credentials for Google Cloud" in no_login.err
    assert "gcloud auth application-default login" in no_login.err
    assert "pip install 'reward-finetuning[vertex]'" in no_package.err


def test_the_account_and_the_root_of_artifacts_go_with_the_run(rft, run_file, service, to_service, work):
    rft("submit", run_file(), *to_service, "--service-account", "runner", "--pipeline-root", "gs://b/kfp")

    (run,) = runs(service)
    kfp = service.target == "kfp"
    assert run["service_account" if kfp else "serviceAccount"] == "runner"
    assert (
        run["runtime_config"]["pipeline_root"] if kfp else run["runtimeConfig"]["gcsOutputDirectory"]
    ) == "gs://b/kfp"
