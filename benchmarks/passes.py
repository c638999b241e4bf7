"""CPU time of an epoch's training: two passes per update, one pass of all cells, and as shipped.

    OMP_NUM_THREADS=1 python benchmarks/passes.py

As shipped, cells that the clip has probably stopped are evaluated without gradient, if there are many of them.
256 images of the built-in model, T = 5, the study's settings of DDPO, PRDP and PPOD; a batch holds four prompts. All
three forms train on the same rollouts from the same weights, in turn. The share of clipped cells is that of the last
update.
"""

from __future__ import annotations

import statistics
import time
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from unittest.mock import patch

from reward_finetuning.config import RunConfig
from reward_finetuning.objectives import one_pass
from reward_finetuning.objectives.ddpo import Ddpo
from reward_finetuning.objectives.ppod import Ppod
from reward_finetuning.objectives.prdp import Prdp
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.plan import Plan
from reward_finetuning.steps.reward import reward
from reward_finetuning.steps.sample import sample
from reward_finetuning.steps.train_epoch import train_epoch
from reward_finetuning.storage import read_reference

REPEATS = 3
OBJECTIVES: dict[type[Ddpo | Prdp | Ppod], dict[str, Any]] = {
    Ddpo: {"name": "ddpo", "clip_range": 1e-3, "max_advantage": 1.5},
    Prdp: {"name": "prdp", "clip_range": 1e-3, "kl_weight": 1.0},
    Ppod: {"name": "ppod", "clip_range": 3e-2, "kl_weight": 30.0, "pairs_per_update": 64, "convergence": None},
}


def config(root: str, name: str, objective: dict[str, Any], updates: int) -> str:
    """The run, as JSON."""
    tree: dict[str, Any] = {
        "name": name,
        "run_root": root,
        "model": {"trainable": "lora", "lora": {"rank": 8, "alpha": 4.0}},
        "prompts": {"prompts_per_epoch": 32},
        "sampling": {"num_steps": 5, "spacing": "quadratic", "guidance_scale": 1.0, "images_per_prompt": 8},
        "objective": objective,
        "training": {"updates_per_epoch": updates, "learning_rate": 1e-2, "cells_per_batch": 160},
        "loop": {"epochs": 1, "granularity": "split"},
        "tracking": {"enabled": False},
    }
    tree["sampling"]["micro_batch_size"] = 64
    return RunConfig.model_validate(tree).model_dump_json()


def trained(root: Path, name: str, objective: dict[str, Any], updates: int) -> tuple[float, float]:
    """CPU seconds of train_epoch, and the share of clipped cells."""
    run = config(str(root), name, objective, updates)
    plan = next_epochs(run, str(root / "policy")).plan
    drawn, scored, after = (str(root / f"{name}-{part}") for part in ("rollouts", "rewards", "policy"))
    sample(run, str(Plan.parse(plan).first), "0", drawn, 0)
    reward(run, drawn, scored)
    before = time.process_time()
    train_epoch(run, "1", after)
    seconds = time.process_time() - before
    return seconds, float(read_reference(after).facts["metrics"]["train/clip_fraction"])


def measured(method: type[Ddpo | Prdp | Ppod], updates: int) -> str:
    """A line of the table."""
    objective = OBJECTIVES[method]
    forms: dict[str, AbstractContextManager[Any]] = {
        "two": patch.object(method, "separable_by", None),
        "one": patch.object(one_pass, "LEAST_STOPPED", 2.0),
        "shipped": nullcontext(),
    }
    seconds: dict[str, list[float]] = {form: [] for form in forms}
    share = 0.0
    with TemporaryDirectory() as folder:
        for repeat in range(1 + REPEATS):
            for form, spent in seconds.items():
                with forms[form]:
                    cpu, share = trained(Path(folder), f"run-{repeat}-{form}", objective, updates)
                if repeat:  # the first warms up
                    spent.append(cpu)
    two, one, shipped = (statistics.median(spent) for spent in seconds.values())
    figures = f"{two:.1f} | {one:.1f} | {shipped:.1f} | {two / shipped:.2f}"
    return f"| {objective['name']} | {updates} | {figures} | {share:.0%} |"


def main() -> None:
    """Print a table."""
    print(
        "| method | updates | two passes, CPU s | one pass | as shipped | two / shipped | clipped cells |\n"
        + "|---" * 7
        + "|"
    )
    for method in OBJECTIVES:
        for updates in (4, 16):
            print(measured(method, updates), flush=True)


if __name__ == "__main__":
    main()
