"""A series of retrainings through kfp.local, with a champion in MLflow's registry."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reward_finetuning.config import load_config
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.targets.services import TargetName

SERIES = Path("pipelines/runs/shapes-retrain.yaml")


def rft(command, root, *overrides, prompts=None):
    changes = [f"run_root={root}", *overrides, *([f"prompts.train={prompts}"] if prompts else [])]
    options = [word for change in changes for word in ("-o", change)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "250"}
    line = [sys.executable, "-m", "reward_finetuning.pipelines.cli", command, str(SERIES), *options]
    done = subprocess.run(line, capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


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


@pytest.mark.slow
def test_the_first_becomes_champion_a_better_one_follows_and_one_that_hurts_the_guard_is_refused(tmp_path):
    from mlflow.tracking import MlflowClient

    root = tmp_path / "runs"
    first, second = (rft("run", root, prompts=f"shapes-retrain:2026-{month}-01") for month in ("09", "10"))
    third = rft("run", root)  # the newest
    again = rft("run", root, prompts="shapes-retrain:2026-10-01")

    assert (
        "promoted, models:/shapes-retrain/1 is the champion (epoch 5 is the first model; Against the pretrained model: "
        in first
    )
    assert "promoted, models:/shapes-retrain/2 is the champion (Against version 1" in second
    assert "not promoted, shapes on black changes by -" in third
    assert "are known since" in again
    assert "train, epoch" not in again

    client = MlflowClient(f"sqlite:///{root}/mlflow.db")
    assert str(client.get_model_version_by_alias("shapes-retrain", "champion").version) == "2"
    shown = rft("status", root).splitlines()
    outcomes = [line for line in shown if "promoted:" in line or "refused:" in line]
    assert [("promoted:" in line, line.split("  ")[1]) for line in outcomes] == [
        (True, "16 of shapes-retrain:2026-09-01"),
        (True, "16 of shapes-retrain:2026-10-01"),
        (False, "16 of shapes-retrain:2026-11-01"),
    ]
    assert "shapes on black changes by -" in _said_by_mlflow(client, tmp_path, promoted="False")


def _said_by_mlflow(client, folder, *, promoted):
    """The reason that MLflow shows at the one run that ended so."""
    said = []
    for run in client.search_runs([e.experiment_id for e in client.search_experiments()]):
        if any(file.path == "promotions" for file in client.list_artifacts(run.info.run_id)):
            path = client.download_artifacts(run.info.run_id, "promotions/epoch_00005.json", str(folder))
            said.append(json.loads(Path(path).read_text()))
    (reason,) = [one["reason"] for one in said if one["promoted"] == promoted]
    return reason
