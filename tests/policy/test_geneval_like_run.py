"""The run file sd35-medium-prdp-geneval-like on a small Stable Diffusion 3, with a judge on loopback."""

import json

import numpy as np
import pytest
from servers.chat import ChatServer

from reward_finetuning.config import load_config
from reward_finetuning.pipelines.cli.run_files import RUNS
from reward_finetuning.prompts import read_prompts
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.run_epochs import run_epochs
from reward_finetuning.storage import RunDirectory

pytestmark = pytest.mark.slow

SMALL = (
    "model.revision=null", "model.dtype=float32", "model.device=cpu", "model.max_sequence_length=24",
    "model.lora={rank: 2, alpha: 4.0}", "prompts.prompts_per_epoch=2", "sampling.num_steps=3",
    "sampling.images_per_prompt=2", "sampling.micro_batch_size=4", "sampling.height=16", "sampling.width=16",
    "training.cells_per_batch=4", "training.learning_rate=0.003",
    "loop={epochs: 1, evaluate_every: 1}", "evaluation.num_steps=3", "evaluation.images_per_prompt=1",
    "tracking.enabled=false", "reward.weights={judge: 1.0}",
)  # fmt: skip


def judge(question, pictures):
    """Says that a requirement is met by a share that is the brightness of the picture."""
    score = float(pictures[0].mean()) / 255
    return json.dumps({"checks": {"a requirement": score > 0.5}, "score": score})


def test_an_epoch_asks_the_judge_about_each_picture_and_trains(family_folder, tmp_path, monkeypatch):
    monkeypatch.setenv("RFT_CACHE", str(tmp_path / "cache"))
    heldout = tmp_path / "heldout.txt"
    heldout.write_text("a photo of three apples\n", encoding="utf-8")
    with ChatServer(judge) as server:
        places = [
            f"model.source={family_folder('sd3')}", f"run_root={tmp_path}",
            f"evaluation.prompt_sets={{heldout: {heldout}}}", f"reward.scorers.judge.url={server.url}",
        ]  # fmt: skip
        config = load_config(RUNS / "sd35-medium-prdp-geneval-like.yaml", [*SMALL, *places])

        text = config.model_dump_json()
        plan = next_epochs(text, str(tmp_path / "policy")).plan
        run_epochs(text, plan, str(tmp_path / "next"), str(tmp_path / "report.html"))

    questions = [request["messages"][0]["content"][0]["text"] for request in server.seen]
    asked = {
        question.splitlines()[0].removeprefix("The image was generated for this prompt: ") for question in questions
    }
    assert asked - {"a photo of three apples"} <= {p.text for p in read_prompts("geneval-like:train").prompts}
    assert len(asked) == 3
    assert all("from 0 (none) to 1 (all)" in question for question in questions)
    run = RunDirectory(config)
    assert run.latest().epoch == 1
    assert np.isfinite(list(run.latest().facts["metrics"].values())).all()
