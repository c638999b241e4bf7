import os
from functools import partial
from pathlib import Path

import pytest

# Two cores: one thread a test process keeps runs reproducible and pytest-xdist useful.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(autouse=True)
def _no_tracking_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def run_config_in():
    """A factory of the smallest real run in a folder: the built-in model, 2 prompts x 3 images, T = 3."""
    from reward_finetuning.config import RunConfig

    def make(folder, **changes):
        tree = {
            "name": "tiny",
            "run_root": str(folder / "runs"),
            "prompts": {"train": "shapes:train", "prompts_per_epoch": 2},
            "sampling": {"num_steps": 3, "guidance_scale": 3.0, "images_per_prompt": 3, "micro_batch_size": 4},
            "training": {"cells_per_batch": 8, "learning_rate": 1e-4, "gate_cells": 6},
            "objective": {"name": "prdp", "kl_weight": 1e-3, "clip_range": 1e-3},
            "evaluation": {"prompt_sets": {"train": str(_few_prompts(folder))}, "images_per_prompt": 1},
            "loop": {"epochs": 2, "evaluate_every": 2},
        }
        for key, value in changes.items():
            tree[key] = {**tree[key], **value} if isinstance(value, dict) and key in tree else value
        return RunConfig.model_validate(tree)

    return make


@pytest.fixture
def run_config(run_config_in, tmp_path):
    """`run_config_in` of the test's own folder."""
    return partial(run_config_in, tmp_path)


def _few_prompts(folder: Path) -> Path:
    path = folder / "evaluation.txt"
    path.write_text("a red circle\na blue square\n", encoding="utf-8")
    return path
