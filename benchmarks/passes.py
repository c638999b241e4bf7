"""CPU time of an epoch's training with DDPO: one pass per update where the loss is separable, against two passes.

    OMP_NUM_THREADS=1 python benchmarks/passes.py

256 images of the built-in model, T = 5, the study's settings of DDPO. Both forms train on the same rollouts from the
same weights, in turn. The share of clipped cells is that of the last update: two passes leave out the backward pass of
cells that the clip stops, one pass does not.
"""

from __future__ import annotations

import statistics
import time
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from reward_finetuning.config import RunConfig
from reward_finetuning.objectives.ddpo import Ddpo
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.plan import Plan
from reward_finetuning.steps.reward import reward
from reward_finetuning.steps.sample import sample
from reward_finetuning.steps.train_epoch import train_epoch
from reward_finetuning.storage import read_reference

REPEATS = 3


def config(root: str, name: str, updates: int) -> str:
    """The run, as JSON."""
    tree: dict[str, Any] = {
        "name": name,
        "run_root": root,
        "model": {"trainable": "lora", "lora": {"rank": 8, "alpha": 4.0}},
        "prompts": {"prompts_per_epoch": 32},
        "sampling": {"num_steps": 5, "spacing": "quadratic", "guidance_scale": 1.0, "images_per_prompt": 8},
        "objective": {"name": "ddpo", "clip_range": 1e-3, "max_advantage": 1.5},
        "training": {"updates_per_epoch": updates, "learning_rate": 1e-2, "cells_per_batch": 160},
        "loop": {"epochs": 1, "granularity": "split"},
        "tracking": {"enabled": False},
    }
    tree["sampling"]["micro_batch_size"] = 64
    return RunConfig.model_validate(tree).model_dump_json()


def trained(root: Path, name: str, updates: int) -> tuple[float, float]:
    """CPU seconds of train_epoch, and the share of clipped cells."""
    run = config(str(root), name, updates)
    plan = next_epochs(run, str(root / "policy")).plan
    drawn, scored, after = (str(root / f"{name}-{part}") for part in ("rollouts", "rewards", "policy"))
    sample(run, str(Plan.parse(plan).first), "0", drawn, 0)
    reward(run, drawn, scored)
    before = time.process_time()
    train_epoch(run, "1", after)
    seconds = time.process_time() - before
    return seconds, float(read_reference(after).facts["metrics"]["train/clip_fraction"])


def main() -> None:
    """Print a table."""
    print("| updates | two passes, CPU s | one pass, CPU s | ratio | clipped cells |\n|---|---|---|---|---|")
    for updates in (4, 10):
        seconds: dict[bool, list[float]] = {True: [], False: []}
        share = 0.0
        with TemporaryDirectory() as folder:
            for repeat in range(1 + REPEATS):
                for is_separable in (False, True):
                    Ddpo.is_separable = is_separable
                    spent, share = trained(Path(folder), f"run-{updates}-{repeat}-{is_separable}".lower(), updates)
                    seconds[is_separable] += [spent] if repeat else []  # the first warms up
        two, one = (statistics.median(seconds[is_separable]) for is_separable in (False, True))
        print(f"| {updates} | {two:.1f} | {one:.1f} | {two / one:.2f} | {share:.0%} |", flush=True)


if __name__ == "__main__":
    main()
