"""A weighted sum of three scorers: ours, a plug-in and one over HTTP. test_reward_sources.py runs one in a pipeline."""

import json
import os
import subprocess
import sys
from contextlib import contextmanager

import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml

from reward_finetuning.config import RunConfig
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.run_epochs import run_epochs

PLUGIN = """
def brevity(images, prompts):
    return [images[i].mean() / 255 - len(prompt) / 100 for i, prompt in enumerate(prompts)]
"""
REWARD = {"shapes": 1.0, "brevity": 0.5, "far": 0.25}


@contextmanager
def served(scorer):
    command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", "serve-rewards", scorer, "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield next(word for word in process.stdout.readline().split() if word.startswith("http"))
        finally:
            process.kill()


def run_tree(folder, url):
    (folder / "few.txt").write_text("a red circle\na blue square\n", encoding="utf-8")
    (folder / "brief_rewards.py").write_text(PLUGIN, encoding="utf-8")
    return {
        "name": "three", "run_root": str(folder / "runs"),
        "prompts": {"prompts_per_epoch": 2},
        "sampling": {"num_steps": 3, "guidance_scale": 3.0, "images_per_prompt": 3, "micro_batch_size": 4},
        "training": {"cells_per_batch": 8, "learning_rate": 1e-4},
        "objective": {"name": "prdp", "kl_weight": 1e-3, "clip_range": 1e-3},
        "reward": {
            "weights": REWARD,
            "scorers": {"brevity": {"use": "brief_rewards:brevity"}, "far": {"url": url, "retries": 1}},
        },
        "evaluation": {"prompt_sets": {"few": str(folder / "few.txt")}, "images_per_prompt": 1},
        "loop": {"epochs": 1, "granularity": "fused", "evaluate_every": 1},
        "tracking": {"enabled": False},
    }  # fmt: skip


def rft_run(folder, url):
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(run_tree(folder, url)), encoding="utf-8")
    environment = os.environ | {
        "OMP_NUM_THREADS": "1",
        "PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]),
    }
    command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", "run", str(path)]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.slow
def test_a_run_on_three_scorers_trains_on_their_weighted_sum(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(tmp_path)
    with served("colourfulness") as url:
        config = RunConfig.model_validate(run_tree(tmp_path, url)).model_dump_json()
        plan = next_epochs(config, str(tmp_path / "before")).plan
        run_epochs(config, plan, str(tmp_path / "after"), str(tmp_path / "report.html"))

    epoch = tmp_path / "runs" / "three" / "epochs" / "0001"
    (path,) = epoch.glob("rewards-*/rewards.parquet")
    table = pq.read_table(path).to_pydict()
    scores = {name: np.array(table[name]) for name in REWARD}
    assert np.allclose(table["reward"], sum(REWARD[name] * scores[name] for name in REWARD), rtol=0, atol=1e-15)
    assert all(values.std() > 0 for values in scores.values())
    run = json.loads((tmp_path / "runs" / "three" / "run.json").read_text())
    assert run["fingerprint"]["reward.scorers.brevity.use"] == "brief_rewards:brevity"
    page = (tmp_path / "report.html").read_text()
    assert "0.5 × brevity, 0.25 × far, 1 × shapes" in page


@pytest.mark.slow
def test_a_served_scorer_that_is_gone_ends_the_run_with_code_75(tmp_path):
    with served("colourfulness") as url:
        pass

    done = rft_run(tmp_path, url)

    assert done.returncode == 75, done.stderr
    assert f"the scorer at {url} failed 2 times, the last time: ConnectionRefusedError" in done.stderr
    assert "run the same command again to resume" in done.stderr
    assert "log.txt" in done.stderr
