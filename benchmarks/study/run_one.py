"""Run one (claim, arm, seed) and write its result; a run that was cut off resumes."""

from __future__ import annotations

import json
import shutil
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import options
from plan import Task

from reward_finetuning.config import RunConfig, TrainingError
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.run_epochs import run_epochs
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import code_version, history

_CURVES = ("reward/mean", "sample/kl_to_reference", "train/loss", "train/clip_fraction", "train/grad_norm",
           "train/pair_accuracy", "train/live_share_at_start", "train/own_statistics_share", "train/updates",
           "train/heldout_accuracy", "doctor/reference_pull", "doctor/log_prob_move", "doctor/log_prob_move_first",
           "doctor/gradient_noise", "doctor/effective_step", "doctor/epsilon_share")  # fmt: skip


def main() -> None:
    """Read a task as JSON from standard input and write its result below the folder given."""
    task = Task(**json.load(sys.stdin))
    config = task.config()
    if task.option:
        options.use(task.option)
    started = time.monotonic()
    error = _run(config)
    result = _result(task, config, error, time.monotonic() - started)
    target = task.result_in(Path(sys.argv[1]))
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    shutil.rmtree(RunDirectory(config).uri)


def _run(config: RunConfig) -> str:
    """Do all epochs; returns why training stopped, if it did."""
    text = config.model_dump_json()
    with tempfile.TemporaryDirectory() as folder:
        plan = next_epochs(text, f"{folder}/policy").plan
        try:
            run_epochs(text, plan, f"{folder}/next", f"{folder}/report.html")
        except TrainingError as error:
            return str(error)
    return ""


def _result(task: Task, config: RunConfig, error: str, seconds: float) -> dict[str, Any]:
    curves = history(RunDirectory(config))
    kept = {key: [[e, _short(v)] for e, v in curves[key]] for key in _CURVES if key in curves}
    evaluated = {key: [[e, _short(v)] for e, v in points] for key, points in curves.items() if key.startswith("eval/")}
    return {
        "claim": task.claim,
        "arm": task.arm,
        "seed": task.seed,
        "error": error,
        "epochs_done": RunDirectory(config).latest().epoch,
        "images_an_epoch": config.num_images,
        "seconds": round(seconds, 1),
        "cpu_seconds": round(time.process_time(), 1),
        "code_version": code_version(),
        "settings": task.settings,
        "option": task.option,
        "curves": kept,
        "evaluations": evaluated,
    }


def _short(value: float) -> float:
    return float(f"{value:.5g}")


if __name__ == "__main__":
    main()
