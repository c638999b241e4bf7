"""The pod of a task after Argo has merged our patch of every pod into it, and then the patch of the task.

Argo merges with the library of Kubernetes (ApplyPodSpecPatch in workflow/util/util.go), and so does `kubectl patch`.
"""

import json
import subprocess

import pytest
import yaml

# As Kubeflow Pipelines 2.17 compiles a task, reduced: backend/src/v2/compiler/argocompiler/container.go.
POD = {
    "apiVersion": "v1",
    "kind": "Pod",
    "metadata": {"name": "task"},
    "spec": {
        "securityContext": {"seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [
            {"name": "wait", "image": "argoexec"},
            {
                "name": "main",
                "image": "placeholder",
                "securityContext": {"runAsUser": 10001, "capabilities": {"drop": ["ALL"]}},
                "volumeMounts": [
                    {"name": "kfp-launcher", "mountPath": "/kfp-launcher"},
                    {"name": "gcs-scratch", "mountPath": "/gcs"},
                ],
            },
        ],
        "volumes": [{"name": "kfp-launcher", "emptyDir": {}}, {"name": "gcs-scratch", "emptyDir": {}}],
    },
}


def merged(tmp_path, *patches):
    """The pod's spec after the patches, one after the other."""
    pod = POD
    for patch in patches:
        (tmp_path / "pod.json").write_text(json.dumps(pod), encoding="utf-8")
        options = ["--local", "--type=strategic", "--output=json", f"--filename={tmp_path / 'pod.json'}"]
        command = ["kubectl", "patch", *options, "--patch", json.dumps({"spec": patch})]
        pod = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return pod["spec"]


@pytest.fixture
def of_every_pod(kubeflow):
    """Our patch of every pod."""
    text = kubeflow.one("ConfigMap", "workflow-controller-configmap")["data"]["workflowDefaults"]
    return yaml.safe_load(yaml.safe_load(text)["spec"]["podSpecPatch"])


def main_of(spec):
    return next(each for each in spec["containers"] if each["name"] == "main")


def test_the_root_file_system_is_read_only_and_nothing_that_kubeflow_sets_is_lost(of_every_pod, tmp_path):
    spec = merged(tmp_path, of_every_pod)

    assert main_of(spec)["securityContext"] == {
        "runAsUser": 10001,
        "capabilities": {"drop": ["ALL"]},
        "readOnlyRootFilesystem": True,
    }
    assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert spec["securityContext"]["fsGroup"] == 10001
    assert {mount["mountPath"] for mount in main_of(spec)["volumeMounts"]} == {"/gcs", "/kfp-launcher", "/tmp"}
    assert {volume["name"] for volume in spec["volumes"]} == {"gcs-scratch", "kfp-launcher", "tmp"}
    assert "securityContext" not in next(each for each in spec["containers"] if each["name"] == "wait")


def test_volumes_of_a_pool_come_on_top_and_one_at_tmp_replaces_ours(of_every_pod, tmp_path):
    task = {
        "containers": [
            {
                "name": "main",
                "image": "trainer",
                "volumeMounts": [
                    {"name": "rft-data", "mountPath": "/data"},
                    {"name": "big-tmp", "mountPath": "/tmp"},
                ],
            }
        ],
        "volumes": [
            {"name": "rft-data", "persistentVolumeClaim": {"claimName": "rft-data"}},
            {"name": "big-tmp", "emptyDir": {"sizeLimit": "500Gi"}},
        ],
    }

    spec = merged(tmp_path, of_every_pod, task)

    mounts = {mount["mountPath"]: mount["name"] for mount in main_of(spec)["volumeMounts"]}
    assert mounts == {
        "/data": "rft-data",
        "/tmp": "big-tmp",
        "/gcs": "gcs-scratch",
        "/kfp-launcher": "kfp-launcher",
    }
    assert main_of(spec)["image"] == "trainer"
    assert main_of(spec)["securityContext"]["readOnlyRootFilesystem"] is True
