from pathlib import Path

import pytest
import yaml

from pipelines.package import compile_package
from pipelines.placement import TargetName
from reward_finetuning.config import load_config

RUNS = sorted((Path(__file__).parents[2] / "pipelines" / "runs").glob("*.yaml"))
LARGE = next(path for path in RUNS if path.stem == "prdp-large-scale")
GPU_TASKS = {"sample", "reward", "train-epoch", "evaluate"}


def compiled(tmp_path, target, *overrides, run=LARGE):
    path = compile_package(load_config(run, overrides), TargetName(target), tmp_path / "package.yaml")
    return path, list(yaml.safe_load_all(path.read_text()))


def executors(document):
    """Executor specs by component name, every copy of a component."""
    specs = document["deploymentSpec"]["executors"]
    found = {}
    for component in document["components"].values():
        if "executorLabel" in component:
            label = component["executorLabel"]
            found[label.removeprefix("exec-")] = specs[label]
    return found


def tasks(document):
    """Every task of every graph: (name, spec)."""
    dags = [document["root"]["dag"], *(c["dag"] for c in document["components"].values() if "dag" in c)]
    return [(name, task) for dag in dags for name, task in dag["tasks"].items()]


@pytest.mark.parametrize("run", RUNS, ids=lambda path: path.stem)
@pytest.mark.parametrize("target", ["local", "kfp", "vertex"])
@pytest.mark.parametrize("granularity", ["split", "fused"])
def test_every_run_compiles_for_every_target_below_200_kib(tmp_path, run, target, granularity):
    path, documents = compiled(tmp_path, target, f"loop.granularity={granularity}", run=run)

    assert path.stat().st_size < 200 * 1024
    if target == "vertex":
        assert len(documents) == 1


@pytest.mark.parametrize("granularity", ["split", "fused"])
def test_the_size_does_not_depend_on_the_number_of_epochs(tmp_path, granularity):
    sizes = [
        compiled(tmp_path, "kfp", f"loop.granularity={granularity}", f"loop.epochs={epochs}")[0].stat().st_size
        for epochs in (10, 1000)
    ]

    assert abs(sizes[0] - sizes[1]) < 10  # the number itself


@pytest.mark.parametrize("target", ["kfp", "vertex"])
@pytest.mark.parametrize("granularity", ["split", "fused"])
def test_every_task_is_retried_for_a_week_and_never_cached(tmp_path, target, granularity):
    _, (document, *_) = compiled(tmp_path, target, f"loop.granularity={granularity}")

    leaves = [(name, task) for name, task in tasks(document) if "retryPolicy" in task]

    assert len(leaves) >= len(executors(document))
    for name, task in leaves:
        assert task["retryPolicy"]["backoffMaxDuration"] == "604800s", name
        assert task["retryPolicy"]["maxRetryCount"] > 0
        assert "cachingOptions" in task
        assert not task["cachingOptions"].get("enableCache", False), name


@pytest.mark.parametrize(("target", "accelerator"), [("kfp", "nvidia.com/gpu"), ("vertex", "NVIDIA_L4")])
def test_gpu_tasks_get_a_gpu_and_light_ones_none(tmp_path, target, accelerator):
    _, (document, *_) = compiled(tmp_path, target, "loop.granularity=split", "loop.epochs_per_run=1")

    for name, spec in executors(document).items():
        resources = spec["container"]["resources"]
        if name in GPU_TASKS:
            assert resources["accelerator"]["type"] == accelerator
            assert resources["accelerator"]["count"] == "1"
        else:
            assert "accelerator" not in resources, name


def test_gpu_tasks_on_kubernetes_get_node_toleration_and_shared_memory(tmp_path):
    _, (_, platform) = compiled(tmp_path, "kfp", "loop.granularity=split", "loop.epochs_per_run=1")

    specs = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]

    placed = {label.removeprefix("exec-"): spec for label, spec in specs.items() if "nodeSelector" in spec}
    assert placed.keys() == GPU_TASKS
    for spec in placed.values():
        assert spec["nodeSelector"]["labels"] == {"cloud.google.com/gke-accelerator": "nvidia-l4"}
        assert spec["tolerations"][0]["key"] == "nvidia.com/gpu"
        assert spec["emptyDirMounts"][0]["mountPath"] == "/dev/shm"


def test_light_tasks_on_kubernetes_know_which_pipeline_run_they_are_part_of(tmp_path):
    _, (_, platform) = compiled(tmp_path, "kfp", "loop.granularity=split", "loop.epochs_per_run=1")

    spec = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-next-epochs"]

    (variable,) = spec["fieldPathAsEnv"]
    assert variable == {"name": "KFP_RUN_ID", "fieldPath": "metadata.labels['pipeline/runid']"}


def test_nothing_is_installed_when_a_task_starts(tmp_path):
    _, (document, *_) = compiled(tmp_path, "kfp", "loop.granularity=split", "loop.epochs_per_run=1")

    for spec in executors(document).values():
        assert "pip install" not in " ".join(spec["container"]["command"])


def test_a_block_holds_as_many_epochs_as_asked(tmp_path):
    _, (document, *_) = compiled(tmp_path, "kfp", "loop.granularity=split", "loop.epochs_per_run=3")

    epochs = [name for name in document["root"]["dag"]["tasks"] if name.startswith("epoch")]

    assert len(epochs) == 3


def test_the_config_is_the_pipelines_parameter(tmp_path):
    _, (document, *_) = compiled(tmp_path, "kfp", "seed=11")

    parameter = document["root"]["inputDefinitions"]["parameters"]["config"]

    assert '"seed":11' in parameter["defaultValue"]
    assert len(parameter["defaultValue"]) < 10_000  # KFP's limit for all parameters together
