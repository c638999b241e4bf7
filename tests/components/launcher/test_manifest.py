import json

import pytest
from servers.trainjob_rules import refusal_of_schema, refusal_of_webhook

from reward_finetuning.components.launcher.manifest import job_name
from reward_finetuning.components.launcher.settings import TrainJobSettings
from reward_finetuning.config import UserError

EVERYTHING = {
    "queue": "gpus",
    "node_selectors": {"cloud.google.com/gke-accelerator": "nvidia-h100-80gb"},
    "tolerations": [{"key": "nvidia.com/gpu", "operator": "Exists", "effect": "NoSchedule"}],
    "env": {"MLFLOW_TRACKING_URI": "http://mlflow"},
    "secrets": {"mlflow": {"MLFLOW_TRACKING_PASSWORD": "password"}},
    "volumes": [
        {"name": "rft-data", "persistentVolumeClaim": {"claimName": "rft-data"}},
        {"name": "ca", "configMap": {"name": "ca"}},
        {"name": "keys", "secret": {"secretName": "keys"}},
        {"name": "scratch", "emptyDir": {"sizeLimit": "100Gi"}},
    ],
    "volume_mounts": [
        {"name": "rft-data", "mountPath": "/data"},
        {"name": "ca", "mountPath": "/ca"},
        {"name": "keys", "mountPath": "/keys"},
        {"name": "scratch", "mountPath": "/scratch"},
    ],
    "image_pull_secrets": ["registry"],
    "service_account": "trainer",
    "run_as_user": 1000,
}


@pytest.mark.parametrize("changes", [{}, EVERYTHING, {"gpus": 0, "shared_memory": None}])
def test_the_manifest_passes_the_schema_and_the_webhook_of_kubeflow_trainer(job, changes):
    assert refusal_of_schema(job(**changes)) == ""
    assert refusal_of_webhook(job(**changes)) == ""


def test_volumes_are_mounted_without_shared_memory_too(job):
    only = {key: EVERYTHING[key] for key in ("volumes", "volume_mounts")}
    patch = job(**only, shared_memory=None)["spec"]["runtimePatches"][0]["trainingRuntimeSpec"]["template"]["spec"]
    pod = patch["replicatedJobs"][0]["template"]["spec"]["template"]["spec"]

    assert pod["volumes"] == EVERYTHING["volumes"]
    assert pod["containers"] == [{"name": "node", "volumeMounts": EVERYTHING["volume_mounts"]}]


@pytest.mark.parametrize(
    "section", [(), ("trainer",), ("runtimePatches", 0), ("runtimePatches", 0, "trainingRuntimeSpec")]
)
def test_a_field_that_the_api_does_not_know_would_show(job, section):
    manifest = job(**EVERYTHING)
    place = manifest["spec"]
    for key in section:
        place = place[key]
    place["podSpecOverrides"] = []

    assert refusal_of_schema(manifest)


@pytest.mark.parametrize("manager", ["reward-finetuning", "a/", "/b", "Upper/b", "a_b/c"])
def test_a_manager_that_is_no_domain_prefixed_path_would_show_in_the_words_of_a_real_cluster(job, manager):
    manifest = job()
    manifest["spec"]["runtimePatches"][0]["manager"] = manager

    recorded = (
        'spec.runtimePatches.manager: Invalid value: "{}": must be a domain-prefixed path (such as "acme.io/foo")'
    )
    assert refusal_of_webhook(manifest) == recorded.format(manager)


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"runtime": "absent"}, "must be created before the TrainJob"),
        ({"env": {"PET_NNODES": "3"}}, "reserved envs"),
    ],
)
def test_what_the_webhook_compares_with_the_runtime_would_show(job, changes, expected):
    assert expected in refusal_of_webhook(job(**changes))


def test_more_arguments_than_the_schema_admits_would_show(job):
    manifest = job()
    manifest["spec"]["trainer"]["args"] = ["word"] * 129

    assert "at most 128 items" in refusal_of_schema(manifest)


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
    shared_memory, *volumes = pod["volumes"]
    assert shared_memory["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    assert volumes == EVERYTHING["volumes"]
    (container,) = pod["containers"]
    assert container["volumeMounts"][1:] == EVERYTHING["volume_mounts"]
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
