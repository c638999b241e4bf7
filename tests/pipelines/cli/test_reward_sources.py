"""Judges and a table of prompts, through the compiled pipeline on the built-in world."""

import json
import os
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from servers.chat import ChatServer

PLUGIN = """
def rank(images, prompts):
    assert len(set(prompts)) == 1, prompts
    return images.mean(axis=(1, 2, 3)).argsort().argsort()
"""
KEY = "sk-secret-0123456789"
WEIGHTS = {"rank": 0.5, "rating": 0.25, "duel": 1.0, "shapes": 0.0}


def judge(question, pictures):
    """By brightness."""
    means = [float(picture.mean()) / 25.5 for picture in pictures]
    return json.dumps({"score": means[0] if len(means) == 1 else 10 * (means[1] > means[0])})


@pytest.mark.slow  # a whole run: its tasks are processes
def test_a_run_trains_on_judges_and_groupwise_rewards_with_prompts_of_a_table(tmp_path):
    with ChatServer(judge, key=KEY) as server:
        chat = {"url": server.url, "token_env": "JUDGE_KEY", "chat": {"model": "eye-1", "input_price": 1.0}}
        config = {
            "name": "judged", "run_root": str(tmp_path / "runs"),
            "prompts": {"train": f"{tmp_path / 'prompts.csv'}:text", "prompts_per_epoch": 2},
            "sampling": {"num_steps": 3, "guidance_scale": 3.0, "images_per_prompt": 3, "micro_batch_size": 4},
            "training": {"cells_per_batch": 8, "learning_rate": 1e-4},
            "objective": {"name": "prdp", "kl_weight": 1e-3, "clip_range": 1e-3},
            "reward": {
                "weights": WEIGHTS,
                "scorers": {
                    "rank": {"use": "team_rewards:rank", "groupwise": True},
                    "rating": chat,
                    "duel": chat | {"groupwise": True},
                },
            },
            "evaluation": {"prompt_sets": {"few": f"{tmp_path / 'prompts.csv'}:text"}, "images_per_prompt": 2},
            "loop": {"epochs": 1, "granularity": "fused", "evaluate_every": 1},
        }  # fmt: skip
        (tmp_path / "run.yaml").write_text(json.dumps(config), encoding="utf-8")
        (tmp_path / "prompts.csv").write_text("n,text\n1,a red circle\n2,a blue square\n", encoding="utf-8")
        (tmp_path / "team_rewards.py").write_text(PLUGIN, encoding="utf-8")
        path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
        environment = os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": path, "JUDGE_KEY": KEY}
        command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", "run", str(tmp_path / "run.yaml")]

        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    run = tmp_path / "runs" / "judged"
    (scored,) = run.glob("epochs/0001/rewards-*/rewards.parquet")
    table = {name: np.array(values) for name, values in pq.read_table(scored).to_pydict().items()}
    ranks = table["rating"].reshape(2, 3).argsort().argsort()  # every judge prefers the brighter image
    assert (table["rank"].reshape(2, 3) == ranks).all()
    assert (table["duel"].reshape(2, 3) == ranks / 2).all()
    assert np.allclose(table["reward"], sum(weight * table[name] for name, weight in WEIGHTS.items()), atol=1e-12)
    (policy,) = run.glob("epochs/0001/policy*/manifest.json")
    metrics = json.loads(policy.read_text())["facts"]["metrics"]
    assert (metrics["reward/rating/requests"], metrics["reward/duel/requests"]) == (6, 12)
    assert metrics["reward/duel/cost"] == pytest.approx(12 * 200 / 1e6)
    assert KEY not in done.stdout + done.stderr
    assert not any(KEY.encode() in path.read_bytes() for path in run.rglob("*") if path.is_file())
