"""Two `rft run` started together in a new directory, with different settings."""

import json
import os
import subprocess
import sys

import pytest
import yaml

from reward_finetuning.storage import RunDirectory

RATES = (0.01, 0.5)


@pytest.mark.slow  # on disk; in buckets: tests/storage/test_run_directory.py
def test_one_of_two_runs_with_different_settings_wins_and_the_other_names_what_differs(run_config, tmp_path):
    loop = {"epochs": 1, "evaluate_every": 1}
    configs = {
        rate: run_config(
            training={"learning_rate": rate},
            loop=loop,
            tracking={"enabled": False},
            objective={"clip_range": 1.0},
        )
        for rate in RATES
    }

    runs = {rate: start(config, tmp_path, f"{rate}.yaml") for rate, config in configs.items()}
    texts = {rate: run.communicate(timeout=500)[0] for rate, run in runs.items()}

    begun = RunDirectory(configs[0.5]).describe()["config"]["training"]["learning_rate"]
    (loser,) = set(RATES) - {begun}
    assert {rate: run.returncode for rate, run in runs.items()} == {begun: 0, loser: 2}, texts
    assert f"training.learning_rate: run has {begun}, config says {loser}" in texts[loser]
    assert len(list(tmp_path.glob("runs/**/pipeline/*/package.yaml"))) == 2


def start(config, folder, name):
    (folder / name).write_text(yaml.safe_dump(json.loads(config.model_dump_json())), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "reward_finetuning.pipelines.cli", "run", name],
        cwd=folder,
        env=os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200", "PYTHONPATH": os.pathsep.join(sys.path)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
