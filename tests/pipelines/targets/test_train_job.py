"""Training on several nodes of a cluster, read out of the compiled package."""

import json

import pytest

from reward_finetuning.components.launcher.manifest import train_job
from reward_finetuning.components.launcher.settings import TrainJobSettings

NODES = {
    "num_nodes": 3,
    "gpus": 8,
    "accelerator": "nvidia-tesla-a100",
    "spot": True,
    "queue": "training",
    "timeout": "2d",
    "image": "registry/trainer@sha256:1",
    "env": {"MLFLOW_TRACKING_URI": "http://mlflow:5000"},
    "secrets": {"mlflow": {"MLFLOW_TRACKING_PASSWORD": "password"}},
}


def jobs_of(package):
    """What the launching tasks are told."""
    every = [*package.root["dag"]["tasks"].values()]
    for component in package.documents[0]["components"].values():
        every += component.get("dag", {}).get("tasks", {}).values()
    told = [task["inputs"]["parameters"].get("job") for task in every if "parameters" in task.get("inputs", {})]
    return [TrainJobSettings.parse(job["runtimeValue"]["constant"]) for job in told if job]


@pytest.mark.parametrize(
    ("granularity", "launcher", "step"),
    [("fused", "launch-run-epochs", "run-epochs"), ("split", "launch-train-epoch", "train-epoch")],
)
def test_a_pool_of_several_nodes_makes_the_task_a_light_launcher(package, granularity, launcher, step):
    compiled = package("kfp", f"loop.granularity={granularity}", pools={"train": NODES})

    containers = dict(compiled.containers())
    assert launcher in containers
    assert step not in containers
    assert "accelerator" not in containers[launcher]["resources"]
    assert containers[launcher]["image"] == containers["next-epochs"]["image"]


def test_the_launcher_is_told_the_pools_nodes(package):
    (job, *others) = jobs_of(package("kfp", "loop.granularity=fused", pools={"train": NODES}))

    assert not others
    assert (job.num_nodes, job.gpus, job.image, job.queue) == (3, 8, "registry/trainer@sha256:1", "training")
    assert job.timeout_seconds == 2 * 24 * 3600
    assert job.node_selectors == {
        "cloud.google.com/gke-accelerator": "nvidia-tesla-a100",
        "cloud.google.com/gke-spot": "true",
    }
    assert {taint["key"] for taint in job.tolerations} == {"nvidia.com/gpu", "cloud.google.com/gke-spot"}
    assert job.env == NODES["env"]
    assert job.secrets == NODES["secrets"]
    assert json.dumps(train_job("a", job, ["step"], num_processes=8))


def test_one_node_needs_no_launcher(package):
    containers = dict(package("kfp", "loop.granularity=fused", pools={"train": NODES | {"num_nodes": 1}}).containers())

    assert "run-epochs" in containers
    assert not any(name.startswith("launch") for name in containers)


def test_on_vertex_the_nodes_are_a_custom_jobs_pools(package):
    nodes = {"num_nodes": 3, "gpus": 8, "accelerator": "nvidia-tesla-a100", "machine_type": "a2-highgpu-8g"}

    containers = dict(package("vertex", "loop.granularity=fused", pools={"train": nodes}).containers())

    assert not any(name.startswith("launch") for name in containers)
