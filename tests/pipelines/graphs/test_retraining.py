"""The package of a retraining. tests/docker/test_retraining.py runs the series."""

from pathlib import Path

import pytest
import yaml

from reward_finetuning.config import load_config
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.targets.services import TargetName

SERIES = Path("pipelines/runs/shapes-retrain.yaml")


@pytest.mark.parametrize("granularity", ["fused", "staged"])
def test_one_package_begins_trains_and_promotes_whatever_the_prompts_will_be(tmp_path, granularity):
    config = load_config(
        SERIES, [f"loop.granularity={granularity}", "loop.epochs=3", "prompts.train=gs://a/{date}.txt"]
    )

    path = compile_package(config, TargetName.KFP, tmp_path / "package.yaml")

    document = next(iter(yaml.safe_load_all(path.read_text())))
    tasks = document["root"]["dag"]["tasks"]
    assert next(iter(tasks)) == "begin-retraining"
    assert "begin-retraining" in next(
        task["dependentTasks"] for name, task in tasks.items() if "online" in name or "staged" in name
    )
    everywhere = [name for dag in document["components"].values() if "dag" in dag for name in dag["dag"]["tasks"]]
    assert "promote" in [*tasks, *everywhere]
    assert path.stat().st_size < 200 * 1024
