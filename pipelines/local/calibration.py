"""Rates of a model and a method on this machine, measured by a short run of the same settings."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from rich.console import Console

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.config.errors import RetryableError, TrainingError
from reward_finetuning.config.load import validated
from reward_finetuning.pipelines.estimate.rates import Rates, cells_of_an_epoch
from reward_finetuning.pipelines.local.launch import run_until_done
from reward_finetuning.pipelines.local.preflight import check_run
from reward_finetuning.pipelines.local.runner import Runner
from reward_finetuning.prompts import read_prompts
from reward_finetuning.prompts.prompt_set import as_json_lines
from reward_finetuning.tracking import history

MOST_STEPS = 5
"""Denoising steps of the short run; durations are proportional to them."""

_EPOCHS = 2
"""The first loads the model and has the pretrained policy; the second has the rates of all later ones."""


def short_run(config: RunConfig, folder: Path) -> RunConfig:
    """Two epochs of one micro-batch and of few steps, whose files lie below `folder`.

    Raises:
        UserError: the settings of the run file do not work with so few images or steps; it is a series of retrainings.
    """
    if config.retraining is not None:
        raise UserError("--calibrate needs a run file without the section retraining: remove it, then calibrate")
    sampling = config.sampling
    num_prompts = min(config.prompts.prompts_per_epoch, -(-sampling.micro_batch_size // sampling.images_per_prompt))
    train = read_prompts(config.prompts.train)
    one = folder / "prompts.jsonl"
    one.write_text(as_json_lines(replace(train, prompts=train.prompts[:1])), encoding="utf-8")
    tree: dict[str, Any] = config.model_dump(mode="json", exclude={"promotion", "monitor", "tracking", "retention"})
    tree |= {
        "name": "calibration",
        "run_root": str(folder),
        "prompts": {**tree["prompts"], "prompts_per_epoch": num_prompts},
        "sampling": {**tree["sampling"], "num_steps": _steps(config)},
        "loop": {"epochs": _EPOCHS, "evaluate_every": _EPOCHS},
        "evaluation": {"prompt_sets": {"one": str(one)}, "images_per_prompt": 1, "kl": False},
        "tracking": {"enabled": False},
    }
    return validated(RunConfig, tree, "the short run of --calibrate")


def calibrate(config: RunConfig, console: Console) -> Rates:
    """Do the short run, and divide what its steps took by what they did.

    Raises:
        UserError, TrainingError, RetryableError: the short run failed.
    """
    with TemporaryDirectory() as folder:
        short = short_run(config, Path(folder))
        started = time.monotonic()
        outcome = run_until_done(check_run(short), Runner.SUBPROCESS, console)
        seconds = time.monotonic() - started
        if outcome.exit_code:
            kind = {2: UserError, 3: TrainingError}.get(outcome.exit_code, RetryableError)
            raise kind(f"the short run failed: {outcome.error}")
        curves = history(check_run(short))
    return rates_of(short, {name: [value for _, value in points] for name, points in curves.items()}, seconds)


def rates_of(short: RunConfig, curves: dict[str, list[float]], seconds: float) -> Rates:
    """Rates out of the metrics of a short run that took `seconds`."""
    images, steps = short.num_images, short.sampling.num_steps
    first, second = curves["sample/seconds"]
    scored, trained = curves["reward/seconds"], curves["train/seconds"]
    pretrained_step = first / (images * steps)
    score = scored[-1] / images
    evaluated = _EPOCHS * short.sampling.micro_batch_size * (steps * pretrained_step + score)
    accounted = first + second + sum(scored) + sum(trained) + evaluated
    return Rates(
        pretrained_step=pretrained_step,
        step=second / (images * steps),
        score=score,
        cell=trained[-1] / cells_of_an_epoch(short, images),
        start=max(0.0, seconds - accounted),
    )


def _steps(config: RunConfig) -> int:
    window = config.sampling.flow.window
    return min(config.sampling.num_steps, max(MOST_STEPS, 0 if window is None else window[1]))
