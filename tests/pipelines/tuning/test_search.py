"""A search on the built-in model: small, but with real runs through kfp.local."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from reward_finetuning.config import UserError, load_config
from reward_finetuning.pipelines.cli.run_files import RUNS
from reward_finetuning.pipelines.tuning.search import OTHER_SEED, Search
from reward_finetuning.prompts import read_prompts


def test_a_cell_is_the_run_file_with_its_settings_on_another_seed_and_on_training_prompts(run_config):
    search = Search(run_config(loop={"granularity": "split", "num_shards": 2}), num_cells=3, num_epochs=5)
    search.check()

    runs = [search.run_of(cell) for cell in search.grid]

    tried = [(run.training.learning_rate, run.training.updates_per_epoch) for run in runs]
    assert tried == [(1e-4, 1), (1e-4, 2), (3.3e-5, 1)]
    assert {(run.seed, run.loop.epochs, run.loop.granularity, run.tracking.enabled) for run in runs} == {
        (OTHER_SEED, 5, "fused", False)
    }
    assert {run.run_root for run in runs} == {search.root}
    measured_on = read_prompts(runs[0].evaluation.prompt_sets["train"]).prompts
    assert set(measured_on) <= set(read_prompts("shapes:train").prompts)


@pytest.mark.parametrize(
    "path", sorted({*RUNS.glob("*.yaml")} - {RUNS / "shapes-retrain.yaml"}), ids=lambda path: path.stem
)
def test_every_run_file_of_the_package_has_a_grid_of_valid_runs(path):
    search = Search(load_config(path), num_cells=27, num_epochs=4)

    assert len({search.run_of(cell).name for cell in search.grid}) == len(search.grid) >= 12


def test_a_series_of_retrainings_is_not_tuned(run_config):
    config = run_config(retraining={}, promotion={"keep_on": []})

    with pytest.raises(UserError, match="rft tune needs a run file without the section retraining"):
        Search(config, num_cells=3, num_epochs=5)


def rft(*arguments, cwd):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"}
    command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


@pytest.fixture
def run_file(tmp_path, run_config):
    path = tmp_path / "mine.yaml"
    path.write_text(yaml.safe_dump(run_config().model_dump(mode="json")), encoding="utf-8")
    return path


@pytest.mark.slow
@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-o", "prompts.train=no.txt"], "prompt set no.txt does not exist"),
        (["-o", "prompts.prompts_per_epoch=100000"], "prompts_per_epoch"),
        (["--cells", "0"], "--cells"),
        ([], "was not written by rft tune, or was changed since"),
    ],
    ids=str,
)
def test_what_is_wrong_is_refused_before_any_run(run_file, tmp_path, options, message):
    if not options:
        run_file.with_name("mine-tuned.yaml").write_text("name: precious\n", encoding="utf-8")

    done = rft("tune", run_file, *options, cwd=tmp_path)

    assert done.returncode == 2
    assert message in done.stderr
    assert not list(tmp_path.glob("runs/*/prdp-*"))


@pytest.mark.slow
def test_a_search_runs_each_cell_once_and_writes_the_best_as_a_run_file(run_file, tmp_path):
    prompts = tmp_path / "few.txt"
    prompts.write_text("a red circle\na blue square\n", encoding="utf-8")
    few = ("-o", f"prompts.train={prompts}")

    first = rft("tune", run_file, *few, "--cells", 1, "--epochs", 1, cwd=tmp_path)
    results = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "runs" / "tiny-tune").glob("prdp-*.json")}
    again = rft("tune", run_file, *few, "--cells", 2, "--epochs", 1, cwd=tmp_path)

    assert (first.returncode, again.returncode) == (0, 0), first.stderr + again.stderr
    folder = tmp_path / "runs" / "tiny-tune"
    assert results == {name: (folder / name).stat().st_mtime_ns for name in results}
    gains = {path.stem: json.loads(path.read_text())["gain"] for path in folder.glob("prdp-*.json")}
    assert (len(results), len(gains)) == (1, 2)
    best = max(gains, key=gains.get)
    tuned = load_config(run_file.with_name("mine-tuned.yaml"))
    assert f"lr{tuned.training.learning_rate:g}-u{tuned.training.updates_per_epoch}" in best
    assert "selected" in run_file.with_name("mine-tuned.md").read_text()
    assert "epoch 1: reward" in first.stdout
    assert again.stdout.count("epoch 1: reward") == 1
