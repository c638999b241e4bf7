"""The run that drills and chaos repeat: small, with everything that a checkpoint must hold, in a folder or a bucket."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any, Literal

from reward_finetuning.config import RunConfig
from reward_finetuning.storage import RunDirectory

EPOCHS = 3
SHARDS = 2

Place = Literal["disk", "gcs"]
Granularity = Literal["fused", "split"]


@dataclass(frozen=True)
class Scene:
    """One run directory, and the folder of the machine that works on it."""

    folder: Path
    name: str
    place: Place
    granularity: Granularity
    tracking_uri: str | None = None
    """None: a sqlite file in `folder`."""

    @property
    def config(self) -> RunConfig:
        """DDPO with a buffer that both epochs fill, AdamW, and a moving average: each is state of a checkpoint."""
        tree: dict[str, Any] = {
            "name": self.name,
            "seed": 5,  # one with which the last policy is promoted
            "run_root": str(self.folder / "runs") if self.place == "disk" else "gs://bucket/runs",
            "prompts": {"train": str(self._prompts()), "prompts_per_epoch": 2},
            "sampling": {"num_steps": 2, "guidance_scale": 3.0, "images_per_prompt": 4, "micro_batch_size": 4},
            "reward": {"weights": {"colourfulness": -1.0}},
            "objective": {"name": "ddpo", "clip_range": 1e-2, "min_count": 2, "buffer_size": 16},
            "training": {
                "cells_per_batch": 8, "learning_rate": 1e-3, "updates_per_epoch": 2, "ema_decay": 0.5,
            },
            "evaluation": {"prompt_sets": {"train": str(self._prompts())}, "images_per_prompt": 4},
            "promotion": {"keep_on": ["train"], "min_gain": 1e-6, "registered_model": None},
            "retention": {"rollouts": 99, "policies": 0},
            "tracking": {"uri": self.tracking_uri or f"sqlite:///{self.database}", "timeout_seconds": 30},
            "loop": {
                "epochs": EPOCHS, "evaluate_every": EPOCHS, "epochs_per_run": EPOCHS, "granularity": self.granularity,
                "num_shards": SHARDS if self.granularity == "split" else 1,
            },
        }  # fmt: skip
        return RunConfig.model_validate(tree)

    @property
    def database(self) -> Path:
        """MLflow's sqlite file where no server is named."""
        return self.folder / "mlflow.db"

    @property
    def run(self) -> RunDirectory:
        """Its run directory."""
        return RunDirectory(self.config)

    def _prompts(self) -> Path:
        path = self.folder / "prompts.txt"
        if not path.exists():
            self.folder.mkdir(parents=True, exist_ok=True)
            path.write_text("a red circle\na blue square\n", encoding="utf-8")
        return path


def attempt(scene: Scene, enter: Callable[[str], None]) -> None:
    """One attempt at the whole run: what is committed already is not done again.

    Args:
        scene: whose run.
        enter: called with the name of each step that begins.
    """
    from reward_finetuning.steps.evaluate import evaluate
    from reward_finetuning.steps.next_epochs import next_epochs
    from reward_finetuning.steps.promote import promote
    from reward_finetuning.steps.run_epochs import run_epochs
    from reward_finetuning.storage import read_reference
    from reward_finetuning.tracking import MlflowTracker

    config = scene.config.model_dump_json()
    folder = Path(mkdtemp(prefix="attempt-", dir=scene.folder))  # where KFP wants its files; each pod has its own

    def path(name: str) -> str:
        return str(folder / name)

    enter("next_epochs")
    begun = next_epochs(config, path("policy"))
    if scene.granularity == "fused":
        run_epochs(begun.run, begun.plan, path("policy"), path("report.html"))
    else:
        for epoch in range(1, EPOCHS + 1):
            _split_epoch(config, epoch, path, enter)
        enter("evaluate")
        evaluate(config, path("policy"), path("report.html"))
    assert read_reference(path("policy")).epoch == EPOCHS
    enter("promote")
    promote(config, path("policy"))
    enter("sync")
    MlflowTracker(scene.run).sync()


def _split_epoch(config: str, epoch: int, path: Callable[[str], str], enter: Callable[[str], None]) -> None:
    from reward_finetuning.steps.reward import reward
    from reward_finetuning.steps.sample import sample
    from reward_finetuning.steps.train_epoch import train_epoch

    for shard in range(SHARDS):
        drawn = path(f"rollouts-{shard}")
        enter("sample")
        sample(config, str(epoch), str(shard), drawn)
        enter("reward")
        reward(config, drawn, path(f"rewards-{shard}"))
    enter("train")
    train_epoch(config, str(epoch), path("next"))
    os.replace(path("next"), path("policy"))
