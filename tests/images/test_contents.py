"""What an image has suffices for every task that placement gives it."""

import sys
from pathlib import Path

import pytest
import yaml

from reward_finetuning.config import EvaluationRun, RunConfig
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.images import IMAGE_OF_ROLE, components_of, local_name
from reward_finetuning.pipelines.targets.services import TargetName

ROOT = Path(__file__).parents[2]
sys.path.append(str(ROOT / "images"))
SHARDS = {"prompt_sets": {"heldout": "shapes:heldout"}, "num_shards": 2}
PIPELINES = {
    "fused": {},
    "split": {"loop": {"granularity": "split", "num_shards": 2}},
    "staged": {"loop": {"granularity": "staged", "epochs": 2}},
    "offline": {"loop": {"granularity": "split"}, "sampling": {"rollouts": "offline"}, "evaluation": SHARDS},
    "retraining": {"retraining": {}},
    "retraining-staged": {"retraining": {}, "loop": {"granularity": "staged", "epochs": 1}},
}
NODES = Cluster.model_validate({"pools": {"train": {"num_nodes": 2}}})


def images_of_components(config, folder, cluster=None):
    path = compile_package(config, TargetName.KFP, folder / "package.yaml", cluster)
    spec = next(yaml.safe_load_all(path.read_text()))
    executors = spec["deploymentSpec"]["executors"]
    components = {
        c["executorLabel"]: executors[c["executorLabel"]] for c in spec["components"].values() if "executorLabel" in c
    }
    return {(e["container"]["args"][-1], e["container"]["image"]) for e in components.values()}


@pytest.mark.parametrize(
    ("name", "cluster"), [*((name, None) for name in PIPELINES), ("fused", NODES), ("split", NODES)]
)
def test_every_task_of_a_pipeline_is_in_the_image_whose_contents_are_tested(name, cluster, tmp_path):
    config = RunConfig.model_validate({"name": "any", "run_root": "gs://bucket/runs", **PIPELINES[name]})

    placed = images_of_components(config, tmp_path, cluster)

    listed = {
        (component, local_name(image)) for image in set(IMAGE_OF_ROLE.values()) for component in components_of(image)
    }
    assert placed
    assert placed <= listed


def test_every_task_of_an_evaluation_is_in_the_image_whose_contents_are_tested(tmp_path):
    config = EvaluationRun.model_validate({"name": "any", "policies": [{"run": "gs://bucket/a"}], "evaluation": SHARDS})

    placed = images_of_components(config, tmp_path)

    assert placed == {
        ("plan_evaluation", local_name("light")),
        ("evaluate_shard", local_name("trainer")),
        ("evaluate", local_name("trainer")),
    }


@pytest.mark.slow
@pytest.mark.parametrize("image", sorted(set(IMAGE_OF_ROLE.values())))
def test_the_packages_of_an_image_suffice_for_every_component_in_it(image, run_in_image):
    program = "from contents import import_all; print(*import_all(sys.argv[1]))"

    printed = run_in_image(image, program, image)

    assert printed.split() == components_of(image)


def test_the_light_image_has_no_torch_and_so_this_test_can_fail(run_in_image):
    with pytest.raises(AssertionError, match="No module named 'torch'"):
        run_in_image("light", "import torch")


@pytest.mark.slow
@pytest.mark.parametrize("image", sorted(set(IMAGE_OF_ROLE.values())))
def test_rft_compiles_and_has_its_clients_in_every_image(image, run_in_image, tmp_path):
    package = tmp_path / "package.yaml"
    program = """
del os.environ["_KFP_RUNTIME"]
import reward_finetuning.pipelines.remote.submit, reward_finetuning.pipelines.remote.clients.kubeflow
from reward_finetuning.pipelines.cli.app import main
sys.argv = ["rft", "compile", "pipelines/runs/shapes-retrain.yaml", "--output", sys.argv[1]]
main()
"""

    run_in_image(image, program, package)

    assert package.is_file()


def test_rft_says_which_package_a_command_lacks(run_in_image):
    program = """
del os.environ["_KFP_RUNTIME"]
absent.add("kfp")
from reward_finetuning.pipelines.cli.app import main
sys.argv, sys.stderr = ["rft", "compile", "pipelines/runs/shapes-prdp.yaml"], sys.stdout
try:
    main()
except SystemExit as end:
    print(end.code)
"""

    printed = run_in_image("light", program)

    assert printed.split("\n")[:2] == ["rft: this command needs the package kfp, which is not installed here", "2"]
