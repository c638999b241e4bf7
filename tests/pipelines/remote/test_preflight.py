"""What `rft submit` refuses and warns of, and `rft compile` warns of."""

import pytest

from reward_finetuning.config import EvaluationRun, RunConfig
from reward_finetuning.pipelines.remote.preflight import examine
from reward_finetuning.pipelines.remote.service import Service
from reward_finetuning.pipelines.targets.cluster import Cluster

IMAGE = {"image": "registry.example.com/team/rft:1"}
MLFLOW = {"env": {"MLFLOW_TRACKING_URI": "http://mlflow:5000"}}
WHOLE = Cluster.model_validate({"pools": {"every": IMAGE | MLFLOW}})


def run(**changes):
    return RunConfig.model_validate({"name": "a", "run_root": "gs://bucket/runs", **changes})


@pytest.mark.parametrize("target", Service)
def test_nothing_is_wrong_with_a_run_in_a_bucket_on_a_cluster_with_images_and_a_server(target):
    findings = examine(run(), target, WHOLE)

    assert (findings.refusals, findings.warnings) == ((), ())


@pytest.mark.parametrize(
    ("changes", "refusal"),
    [
        ({"run_root": "runs"}, "pods cannot read what lies on this machine: run_root=runs"),
        ({"prompts": {"train": "p.txt"}}, "pods cannot read what lies on this machine: prompts.train=p.txt"),
        ({"reward": {"verify": 2}}, "reward.verify=2: pods have no official packages"),
    ],
)
def test_what_cannot_work_is_refused(changes, refusal):
    (text,) = examine(run(**changes), Service.KFP, WHOLE).refusals

    assert refusal in text


@pytest.mark.parametrize("image", ["reward-finetuning-trainer:0.1.0", "team/rft:1"])
def test_an_image_without_a_registry_is_warned_of(image):
    cluster = Cluster.model_validate({"pools": {"every": {"image": image} | MLFLOW}})

    (text,) = examine(run(), Service.KFP, cluster).warnings

    assert f"nodes pull images from a registry, and {image} names none" in text


@pytest.mark.parametrize("image", ["localhost/rft:1", "registry:5000/rft", "gcr.io/team/rft@sha256:0"])
def test_an_image_with_a_registry_is_not(image):
    cluster = Cluster.model_validate({"pools": {"every": {"image": image} | MLFLOW}})

    assert examine(run(), Service.KFP, cluster).warnings == ()


@pytest.mark.parametrize("policy", ["Never", "IfNotPresent"])
def test_images_that_nodes_have_already_need_no_registry(policy):
    cluster = Cluster.model_validate({"pools": {"every": {"image_pull_policy": policy} | MLFLOW}})

    assert examine(run(), Service.KFP, cluster).warnings == ()


def test_tasks_that_find_no_mlflow_server_are_warned_of():
    cluster = Cluster.model_validate({"pools": {"every": IMAGE, "train": MLFLOW}})

    (text,) = examine(run(), Service.KFP, cluster).warnings

    assert "tracking.uri is not given, and not all pools set MLFLOW_TRACKING_URI" in text


@pytest.mark.parametrize("tracking", [{"uri": "http://mlflow:5000"}, {"enabled": False}])
def test_a_server_in_the_run_file_or_no_tracking_needs_no_variable(tracking):
    assert (
        examine(run(tracking=tracking), Service.KFP, Cluster.model_validate({"pools": {"every": IMAGE}})).warnings == ()
    )


def test_a_server_from_a_secret_counts():
    secret = {"secrets": {"mlflow": {"MLFLOW_TRACKING_URI": "uri"}}}

    assert examine(run(), Service.KFP, Cluster.model_validate({"pools": {"every": IMAGE | secret}})).warnings == ()


def test_an_evaluation_is_examined_too():
    evaluation = EvaluationRun.model_validate({"name": "e", "run_root": "gs://b/runs", "policies": [{"run": "runs/a"}]})

    (text,) = examine(evaluation, Service.KFP, WHOLE).refusals

    assert "policies.0.run=runs/a" in text
