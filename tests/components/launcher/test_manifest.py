import json

import pytest

from components.launcher.manifest import job_name
from components.launcher.settings import TrainJobSettings
from reward_finetuning.config import UserError

EVERYTHING = {
    "queue": "gpus",
    "node_selectors": {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "env": {"MLFLOW_TRACKING_URI": "http://mlflow"},
    "secrets": {"mlflow": {"MLFLOW_TRACKING_PASSWORD": "password"}},
    "image_pull_secrets": ["registry"],
    "service_account": "trainer",
    "run_as_user": 1000,
}


@pytest.mark.parametrize("changes", [{}, EVERYTHING, {"gpus": 0, "shared_memory": None}])
def test_the_manifest_is_one_that_trainers_published_api_takes(job, kubernetes_api, changes):
    assert kubernetes_api.refusal(job(**changes)) == ""


@pytest.mark.parametrize(
    "section", [(), ("trainer",), ("runtimePatches", 0), ("runtimePatches", 0, "trainingRuntimeSpec")]
)
def test_a_field_that_the_api_does_not_know_would_show(job, kubernetes_api, section):
    manifest = job(**EVERYTHING)
    place = manifest["spec"]
    for key in section:
        place = place[key]
    place["podSpecOverrides"] = []

    assert kubernetes_api.refusal(manifest)


def test_every_setting_has_its_place(job):
    spec = job(**EVERYTHING)["spec"]
    trainer, patch = spec["trainer"], spec["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]
    (node,) = patch["replicatedJobs"]
    pod = node["template"]["spec"]["template"]["spec"]

    assert spec["suspend"] is True
    assert job(**EVERYTHING)["metadata"]["labels"]["kueue.x-k8s.io/queue-name"] == "gpus"
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 8)
    assert trainer["resourcesPerNode"]["limits"]["nvidia.com/gpu"] == "8"
    assert {"name": "MLFLOW_TRACKING_URI", "value": "http://mlflow"} in trainer["env"]
    assert {"name": "RFT_FAILURE_FILE", "value": "/dev/termination-log"} in trainer["env"]
    assert trainer["env"][-1]["valueFrom"] == {"secretKeyRef": {"name": "mlflow", "key": "password"}}
    assert pod["nodeSelector"] == EVERYTHING["node_selectors"]
    assert pod["tolerations"] == EVERYTHING["tolerations"]
    assert pod["volumes"][0]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert pod["securityContext"] == {"runAsNonRoot": True, "runAsUser": 1000}
    assert "suspend" not in job()["spec"] or job()["spec"]["suspend"] is False


@pytest.mark.parametrize("run", ["prdp", "PRDP.large_scale", "2026-run", "x" * 128, "--", "a-" * 30])
def test_a_jobs_name_is_a_dns_label_that_leaves_room_for_its_pods(run):
    name = job_name(run, 12, "key")

    assert len(f"{name}-node-0-999-abcde") <= 63
    assert name[0].isalpha()
    assert name == name.lower()
    assert name.replace("-", "").isalnum()
    assert "-e0012-" in name


def test_the_same_work_has_the_same_name_and_other_work_another():
    assert job_name("prdp", 3, "gs://a\nchecksum") == job_name("prdp", 3, "gs://a\nchecksum")
    assert len({job_name("prdp", 3, "a"), job_name("prdp", 4, "a"), job_name("prdp", 3, "b")}) == 3


def test_another_image_is_another_spec_of_the_same_name(job):
    one, other = job(), job(image="trainer:2")

    assert one["metadata"]["name"] == other["metadata"]["name"]
    assert one["metadata"]["annotations"] != other["metadata"]["annotations"]


def test_settings_that_are_wrong_are_named():
    with pytest.raises(UserError, match=r"num_nodes.*nodes"):
        TrainJobSettings.parse(json.dumps({"image": "i", "num_nodes": 0, "nodes": 2}))
