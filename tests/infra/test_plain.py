"""The installation on any cluster: the guide, the cluster file and the overlays name the same things."""

import re
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
GUIDE = (ROOT / "docs/on-your-cluster.md").read_text("utf-8")
CLUSTER = yaml.safe_load((ROOT / "infra/cluster.plain.yaml").read_text("utf-8"))
CREATED = set(re.findall(r"--namespace (\w+) create secret generic ([\w-]+)", GUIDE))


def referenced_secrets(built):
    """(namespace, name) of every secret that a pod of the build needs."""
    pods = [
        (each["metadata"]["namespace"], each["spec"]["template"]["spec"])
        for kind in ("Deployment", "StatefulSet")
        for each in built.all(kind)
    ]
    volumes = {
        (space, v["secret"]["secretName"]) for space, pod in pods for v in pod.get("volumes", []) if "secret" in v
    }
    variables = {
        (space, variable["valueFrom"]["secretKeyRef"]["name"])
        for space, pod in pods
        for container in pod["containers"]
        for variable in container.get("env", [])
        if "secretKeyRef" in variable.get("valueFrom", {})
    }
    return volumes | variables


def test_the_guide_creates_every_secret_of_mlflow_and_of_the_cluster_file(mlflow_plain):
    of_tasks = {("kubeflow", name) for name in CLUSTER["pools"]["every"]["secrets"]}

    assert referenced_secrets(mlflow_plain) | of_tasks | {("kubeflow", "mlpipeline-minio-artifact")} == CREATED


def test_the_addresses_of_the_cluster_file_are_services_of_the_overlays(kubeflow_plain, mlflow_plain):
    variables = CLUSTER["pools"]["every"]["env"]
    addresses = [
        re.fullmatch(r"http://([\w-]+)\.(\w+)\.svc\.cluster\.local:(\d+)", text) for text in variables.values()
    ]
    found = [match.groups() for match in addresses if match]

    assert len(found) == 2
    for name, namespace, port in found:
        service = (mlflow_plain if namespace == "mlflow" else kubeflow_plain).one("Service", name)
        assert service["metadata"]["namespace"] == namespace
        assert int(port) in [each["port"] for each in service["spec"]["ports"]]


def test_mlflow_keeps_its_artifacts_in_a_bucket_that_the_guide_creates(kubeflow_plain, mlflow_plain):
    (container,) = mlflow_plain.one("Deployment", "mlflow")["spec"]["template"]["spec"]["containers"]
    variables = {each["name"]: each.get("value") for each in container["env"]}

    assert variables["ARTIFACTS"] == "s3://mlflow/artifacts"
    assert "s3.bucket.create -name mlflow\n" in GUIDE
    assert variables["MLFLOW_S3_ENDPOINT_URL"] == CLUSTER["pools"]["every"]["env"]["AWS_ENDPOINT_URL_S3"]
    assert container["image"].endswith("-full")  # with the drivers of PostgreSQL and S3


@pytest.mark.parametrize("path", sorted(set(re.findall(r"infra/[\w./-]+", GUIDE))))
def test_a_path_in_the_guide_exists(path):
    assert (ROOT / path.rstrip(".")).exists()


def test_the_guide_checks_with_the_labels_that_the_policies_select(kubeflow_plain):
    policies = str(kubeflow_plain.all("NetworkPolicy"))

    for labels in re.findall(r"--labels=(\S+)", GUIDE):
        for key in re.findall(r"(?:^|,)([^=]+)=", labels):
            assert key in policies


def test_the_account_and_the_bucket_of_runs_are_those_of_the_installation(kubeflow_plain):
    assert kubeflow_plain.one("ServiceAccount", CLUSTER["kfp"]["service_account"])
    assert "s3.bucket.create -name rft-runs\n" in GUIDE
    assert GUIDE.count("-o run_root=s3://rft-runs/runs") == 2
