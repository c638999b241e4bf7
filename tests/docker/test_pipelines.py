"""Each pipeline once, small, through kfp's DockerRunner: every task in the image that placement gives it."""

import json
import os
import re
from pathlib import Path

import pytest
import yaml

from reward_finetuning.config import EvaluationRun, RunConfig
from reward_finetuning.pipelines.graphs.evaluation import standalone
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.local.containers import ContainerOptions, container_arguments, engine
from reward_finetuning.pipelines.targets.images import IMAGE_OF_ROLE, IMAGES_LOCK
from reward_finetuning.pipelines.targets.services import TargetName

PROMPTS = "a red circle\na blue square\na green cross\n"
SMALL = {
    "prompts": {"prompts_per_epoch": 2},
    "sampling": {"num_steps": 3, "guidance_scale": 1.0, "images_per_prompt": 4, "micro_batch_size": 4},
    "training": {"cells_per_batch": 16, "updates_per_epoch": 1, "learning_rate": 1e-4},
    "objective": {"name": "prdp", "kl_weight": 1e-3, "clip_range": 1e-3},
    "evaluation": {"images_per_prompt": 1},
    "promotion": {"improve_on": ["own"], "keep_on": [], "min_gain": 0.01},
    "loop": {"epochs": 1, "epochs_per_run": 1, "evaluate_every": 1},
    "tracking": {"enabled": False},
}
PPOD = {"name": "ppod"}
PIPELINES = {
    "fused": {"loop": {"granularity": "fused"}},
    "split": {"loop": {"granularity": "split", "num_shards": 2}, "evaluation": {"num_shards": 2}},
    "staged": {"loop": {"granularity": "staged", "epochs": 2}},
    "offline": {
        "loop": {"granularity": "split"},
        # Rewards of few images may all be equal: then there is no pair to learn from.
        "sampling": {"rollouts": "offline", "images_per_prompt": 16},
        "objective": PPOD,
    },
}
TASKS = {
    "fused": {"next-epochs", "run-epochs"},
    "split": {"next-epochs", "draw", "train-epoch", "evaluate-shard", "evaluate"},
    "staged": {"next-epochs", "draw", "train-epoch", "evaluate", "gate", "promote"},
    "offline": {"next-epochs", "draw", "train-epoch", "evaluate"},
}


@pytest.fixture
def config(tmp_path):
    """The tree of a small run whose prompts are files of this machine."""
    prompts = tmp_path / "prompts.txt"
    prompts.write_text(PROMPTS, encoding="utf-8")

    def make(name):
        sets = {"prompts": {"train": str(prompts)}, "evaluation": {"prompt_sets": {"own": str(prompts)}}}
        tree = {"name": name, "run_root": str(tmp_path / "runs")}
        for settings in (SMALL, sets, PIPELINES.get(name, {})):
            for key, value in settings.items():
                whole = key not in tree or "name" in value
                tree[key] = value if whole else {**tree[key], **value}
        return tree

    return make


def run_in_containers(start_rft, folder, tree):
    path = folder / f"{tree['name']}.yaml"
    path.write_text(yaml.safe_dump(tree), encoding="utf-8")
    process = start_rft("run", path, "--runner", "docker", "--network", "none")
    printed, errors = process.communicate()
    logs = [log.read_text()[-3000:] for log in (folder / "runs" / tree["name"]).glob("pipeline/*/log.txt")]
    assert process.returncode == 0, printed + errors + "".join(logs)


@pytest.mark.parametrize("name", PIPELINES)
def test_a_pipeline_runs_in_the_images_of_its_roles(name, config, start_rft, tmp_path):
    run_in_containers(start_rft, tmp_path, config(name))

    (latest,) = (path for path in (tmp_path / "runs").glob(f"{name}*/latest.json"))
    (package,) = (tmp_path / "runs" / name).glob("pipeline/*/package.yaml")
    spec = next(yaml.safe_load_all(package.read_text(encoding="utf-8")))
    components = {
        re.fullmatch(r"comp-(.*?)(-\d+)?", key)[1] for key, c in spec["components"].items() if "executorLabel" in c
    }
    images = {executor["container"]["image"] for executor in spec["deploymentSpec"]["executors"].values()}
    epochs = PIPELINES[name]["loop"].get("epochs", 1)
    assert json.loads(latest.read_text())["epoch"] == epochs
    assert components == TASKS[name]
    assert images <= set(json.loads(Path(os.environ[IMAGES_LOCK]).read_text()).values())
    (page,) = latest.parent.glob(f"epochs/{epochs:04d}/report-*/report.html")
    assert "Epoch by epoch" in page.read_text(encoding="utf-8") or epochs == 1


def test_an_evaluation_in_shards_runs_in_the_images_of_its_roles(config, start_rft, run_package, tmp_path):
    trained = config("fused")
    run_in_containers(start_rft, tmp_path, trained)
    runs = tmp_path / "runs"
    asked = EvaluationRun.model_validate(
        {
            "name": "compared",
            "run_root": str(runs),
            "policies": [{}, {"run": str(runs / "fused")}],
            "model": {"source": "shapes"},
            "evaluation": {**trained["evaluation"], "num_shards": 2},
        }
    )
    pipeline = runs / "compared" / "pipeline"
    package = compile_package(asked, TargetName.LOCAL, pipeline / "package.yaml", build=standalone)
    for folder in (pipeline.parent, pipeline):
        folder.chmod(0o777)
    arguments = container_arguments(engine(), RunConfig.model_validate(trained), ContainerOptions())

    done = run_package(package, pipeline, arguments)

    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    assert list((runs / "compared").rglob("report.html"))


def test_every_role_has_an_image_that_is_built_here(images):
    assert set(IMAGE_OF_ROLE.values()) <= set(images)
