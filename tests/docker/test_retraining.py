"""The series of docs/retraining.md in containers: three prompt sets, a champion in MLflow's registry, and a refusal."""

import json
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient

TASKS = {"begin-retraining", "next-epochs", "run-epochs", "promote"}


@pytest.fixture
def rft(start_rft, tmp_path):
    """Run `rft COMMAND shapes-retrain` with a run root of this test; returns what it prints."""

    def run(command, *options, prompts=None):
        changes = [f"run_root={tmp_path / 'runs'}", *([f"prompts.train={prompts}"] if prompts else [])]
        process = start_rft(
            command, "shapes-retrain", *options, *(w for c in changes for w in ("-o", c)), COLUMNS="250"
        )
        printed, errors = process.communicate()
        assert process.returncode == 0, printed + errors
        return printed

    return run


def test_the_first_becomes_champion_a_better_one_follows_and_one_that_hurts_the_guard_is_refused(rft, tmp_path):
    root = tmp_path / "runs"
    containers = ("--runner", "docker", "--network", "none")

    first, second = (rft("run", *containers, prompts=f"shapes-retrain:2026-{month}-01") for month in ("09", "10"))
    third = rft("run", *containers)  # the newest
    again = rft("run", *containers, prompts="shapes-retrain:2026-10-01")

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
    shown = rft("status").splitlines()
    outcomes = [line for line in shown if "promoted:" in line or "refused:" in line]
    assert [("promoted:" in line, line.split("  ")[1]) for line in outcomes] == [
        (True, "16 of shapes-retrain:2026-09-01"),
        (True, "16 of shapes-retrain:2026-10-01"),
        (False, "16 of shapes-retrain:2026-11-01"),
    ]
    assert "shapes on black changes by -" in reason_in_mlflow(client, tmp_path, promoted="False")
    for package in root.glob("shapes-retrain/pipeline/*/package.yaml"):
        spec = next(yaml.safe_load_all(package.read_text(encoding="utf-8")))
        assert {key.removeprefix("comp-") for key, c in spec["components"].items() if "executorLabel" in c} == TASKS


def reason_in_mlflow(client, folder, *, promoted):
    """The reason that MLflow shows at the one run that ended so."""
    decisions = []
    for run in client.search_runs([e.experiment_id for e in client.search_experiments()]):
        if any(file.path == "promotions" for file in client.list_artifacts(run.info.run_id)):
            path = client.download_artifacts(run.info.run_id, "promotions/epoch_00005.json", str(folder))
            decisions.append(json.loads(Path(path).read_text()))
    (reason,) = [one["reason"] for one in decisions if one["promoted"] == promoted]
    return reason
