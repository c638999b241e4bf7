"""Evaluation as graphs: shares side by side, `rft evaluate`, and what Kubeflow and Vertex show of it."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from reward_finetuning.config import EvaluationRun, load_run_or_evaluation
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.targets.services import TargetName

SHIPPED = Path(__file__).parents[3] / "pipelines" / "runs" / "evaluations" / "shapes-evaluation.yaml"
PPOD = {"name": "ppod", "kl_weight": 1.0, "clip_range": 10.0, "pairs_per_update": 4, "convergence": None}


def compiled(config, folder, target="kfp"):
    path = compile_package(config, TargetName(target), folder / "package.yaml")
    documents = list(yaml.safe_load_all(path.read_text()))
    root, components = documents[0]["root"], documents[0]["components"]
    return [root["dag"], *(c["dag"] for c in components.values() if "dag" in c)], documents, path.stat().st_size


@pytest.mark.parametrize("granularity", ["split", "staged"])
@pytest.mark.parametrize("rollouts", ["online", "offline"])
def test_shares_are_drawn_side_by_side_before_they_are_joined(run_config, tmp_path, granularity, rollouts):
    config = run_config(
        objective=PPOD,
        sampling={"rollouts": rollouts},
        loop={"granularity": granularity, "epochs": 2, "epochs_per_run": 2},
        evaluation={"num_shards": 5},
        promotion={"keep_on": []},
    )

    dags, _, size = compiled(config, tmp_path)

    tasks = [task for dag in dags for task in dag["tasks"].values()]
    items = [task["parameterIterator"]["items"].get("raw") for task in tasks if "parameterIterator" in task]
    joins = [task for task in tasks if task["componentRef"]["name"].startswith("comp-evaluate")]
    assert "[0, 1, 2, 3, 4]" in items
    after = [task["dependentTasks"] for task in joins if "shard" not in task["componentRef"]["name"]]
    assert after
    assert all(any(name.startswith("evaluation-shards") for name in names) for names in after)
    assert size < 200 * 1024


def test_one_shard_needs_no_loop(run_config, tmp_path):
    dags, _, _ = compiled(run_config(loop={"granularity": "split"}), tmp_path)

    names = {name for dag in dags for name in dag["tasks"]}
    assert "evaluate" in names
    assert not any(name.startswith(("evaluation-shards", "evaluate-shard")) for name in names)


@pytest.mark.parametrize("target", ["local", "kfp", "vertex"])
def test_an_evaluation_compiles_for_every_target(tmp_path, target):
    evaluation = load_run_or_evaluation(SHIPPED, ["evaluation.num_shards=4"])

    dags, documents, size = compiled(evaluation, tmp_path, target)

    assert {"plan-evaluation", "evaluate"} <= dags[0]["tasks"].keys()
    assert dags[0]["tasks"]["evaluate"]["dependentTasks"] == ["evaluation-shards", "plan-evaluation"]
    assert size < 50 * 1024
    assert target != "vertex" or len(documents) == 1


def test_what_a_task_shows_has_the_types_that_the_pages_know(run_config, tmp_path):
    _, (document, *_), _ = compiled(run_config(loop={"granularity": "split"}), tmp_path)

    outputs = document["components"]["comp-evaluate"]["outputDefinitions"]["artifacts"]
    shown = {name: output["artifactType"]["schemaTitle"] for name, output in outputs.items()}
    assert shown == {"report": "system.HTML", "metrics": "system.Metrics", "summary": "system.Markdown"}


def rft(*arguments, cwd):
    command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", *map(str, arguments)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    done = subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def shown_by(folder, task):
    """(metadata of the metrics, page, summary) of the newest task of that name, as kfp.local has them."""
    outputs = max(Path(folder).glob(f"pipeline/*/*/{task}/executor_output.json"), key=lambda path: path.stat().st_mtime)
    found = json.loads(outputs.read_text())["artifacts"]
    one = {name: found[name]["artifacts"][0] for name in ("metrics", "report", "summary")}
    return one["metrics"]["metadata"], Path(one["report"]["uri"]), Path(one["summary"]["uri"])


@pytest.mark.slow
def test_rft_evaluate_compares_policies_once_and_a_runs_newest_one(nudged_run, tmp_path):
    quiet = {"tracking": {"enabled": False}}
    run, other = nudged_run({1: 0.1, 2: 0.2}, **quiet), nudged_run({1: 0.1}, name="other", **quiet)
    asked = EvaluationRun.model_validate(
        {
            "name": "both",
            "policies": [{}, {"run": "runs/tiny"}, {"run": "runs/other"}],
            "evaluation": {"prompt_sets": {"two": "evaluation.txt"}, "images_per_prompt": 4, "num_shards": 2},
        }
    )
    (tmp_path / "both.yaml").write_text(yaml.safe_dump(asked.model_dump(mode="json")))
    (tmp_path / "other.yaml").write_text(yaml.safe_dump(other.config.model_dump(mode="json")))

    first = rft("evaluate", "both.yaml", cwd=tmp_path)
    again = rft("evaluate", "both.yaml", cwd=tmp_path)
    newest = rft("evaluate", "other.yaml", "-o", "evaluation.images_per_prompt=2", cwd=tmp_path)

    assert "both: pretrained, tiny, other on two" in first
    assert "evaluate, tiny: 8/8 images" in first
    assert "two: every policy against pretrained, same noise, 95 % intervals" in first
    assert "evaluate, " not in again
    assert again.splitlines()[-4:] == first.splitlines()[-4:]
    numbers, page, summary = shown_by(tmp_path / "runs" / "both", "evaluate")
    assert any("reward gain low (other/two)" in name for name in numbers)
    assert len(numbers) <= 12
    assert '<article class="strip">' in page.read_text()
    assert page.stat().st_size < 2_000_000
    assert summary.read_text().startswith("# both")
    assert (tmp_path / "runs" / "both" / "report.html").read_text() == page.read_text()
    assert "evaluate, epoch 1: 4/4 images" in newest
    assert "pretrained against epoch 1, same noise, 95 % intervals" in newest
    assert run.latest().epoch == 2
