"""The runs of a grid: one after the other through kfp.local, each with a result file, so that none is done twice."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console

from reward_finetuning.config import RunConfig, TrainingError, UserError
from reward_finetuning.config.load import validated
from reward_finetuning.evaluation.reports import reported_metrics
from reward_finetuning.pipelines.local.folder import folder_here
from reward_finetuning.pipelines.local.launch import Outcome, run_until_done
from reward_finetuning.pipelines.local.preflight import check_run
from reward_finetuning.pipelines.local.runner import Runner
from reward_finetuning.pipelines.tuning.grid import Cell, around
from reward_finetuning.prompts import read_prompts
from reward_finetuning.prompts.prompt_set import as_json_lines
from reward_finetuning.storage import RunDirectory

OTHER_SEED = 1000
"""Is added to the run file's seed: settings are not chosen on the noise with which the run itself draws."""

MOST_PROMPTS = 64
"""Training prompts that gains are measured on, drawn at random where there are more."""


@dataclass(frozen=True, slots=True)
class Trial:
    """A cell and its result."""

    cell: Cell
    gain: float | None
    """Paired gain in the mean reward on training prompts; None for a run that training errors ended."""

    low: float = 0.0
    high: float = 0.0
    """95 % interval."""

    error: str = ""


class Search:
    """The grid around a run file's values."""

    def __init__(self, config: RunConfig, *, num_cells: int, num_epochs: int) -> None:
        """`num_cells` runs at most, of `num_epochs` each.

        Raises:
            UserError: the run file is of a series of retrainings.
        """
        if config.retraining is not None:
            raise UserError("rft tune needs a run file without the section retraining: remove it, then tune")
        self.config, self.num_epochs = config, num_epochs
        self.grid = around(config, num_cells)
        self.root = f"{config.run_root}/{config.name}-tune"
        self.folder = folder_here(RunDirectory(config.model_copy(update={"name": f"{config.name}-tune"})))

    @property
    def budget(self) -> str:
        """What is run, in a line."""
        images = self.num_epochs * self.config.num_images
        return (
            f"{self.config.name}: {len(self.grid)} runs of {self.num_epochs} epochs, {images} images each, "
            f"seed {self.config.seed + OTHER_SEED}"
        )

    def check(self) -> None:
        """Check the inputs of every cell before the first one runs.

        Raises:
            UserError: the first thing that is wrong.
        """
        self._write_prompts()
        for cell in self.grid:
            check_run(self.run_of(cell))

    def run_of(self, cell: Cell) -> RunConfig:
        """The run of a cell: the run file with the cell's settings, in the folder of the search."""
        tree: dict[str, Any] = self.config.model_dump(mode="json", exclude={"promotion", "monitor", "tracking"})
        for section, values in cell.settings.items():
            tree[section] = {**tree[section], **values}
        of_train = {"prompt_sets": {"train": str(self._prompts)}, "kl": False, "averaged": False, "num_shards": 1}
        tree |= {
            "name": cell.arm,
            "run_root": self.root,
            "seed": self.config.seed + OTHER_SEED,
            "loop": {"epochs": self.num_epochs, "evaluate_every": self.num_epochs},
            "evaluation": {**tree["evaluation"], **of_train},
            "tracking": {"enabled": False},
        }
        return validated(RunConfig, tree, f"cell {cell.arm}")

    def trials(self, runner: Runner, console: Console) -> Iterator[Trial | Outcome]:
        """The result of each cell in order, run where it has none; an Outcome where a run failed, and that is the end.

        A run that ends with a training error is a result: its settings do not work.
        """
        for number, cell in enumerate(self.grid, start=1):
            console.print(f"cell {number} of {len(self.grid)}: {cell.arm}", highlight=False)
            trial = self._finished(cell)
            if trial is None:
                outcome = run_until_done(check_run(self.run_of(cell)), runner, console)
                if outcome.exit_code not in {0, TrainingError.exit_code}:
                    yield outcome
                    return
                trial = self._result(cell, outcome)
                self._keep(trial)
            yield trial

    @property
    def _prompts(self) -> Path:
        return self.folder.absolute() / "prompts.jsonl"

    def _write_prompts(self) -> None:
        prompts = read_prompts(self.config.prompts.train)
        number = min(MOST_PROMPTS, len(prompts.prompts))
        rows = np.random.default_rng(self.config.seed).choice(len(prompts.prompts), number, replace=False)
        sample = replace(prompts, prompts=tuple(prompts.prompts[row] for row in sorted(rows)))
        self.folder.mkdir(parents=True, exist_ok=True)
        self._prompts.write_text(as_json_lines(sample), encoding="utf-8")

    def _result(self, cell: Cell, outcome: Outcome) -> Trial:
        if outcome.exit_code:
            return Trial(cell, None, error=outcome.error)
        metrics = reported_metrics(RunDirectory(self.run_of(cell)), self.num_epochs)
        assert metrics is not None, "a run that is done is evaluated"
        gain, low, high = (metrics[f"eval/train/reward/gain{part}"] for part in ("", "_low", "_high"))
        return Trial(cell, gain, low, high)

    def _finished(self, cell: Cell) -> Trial | None:
        """The result of the same run on the same prompts, if there is one."""
        try:
            stored = json.loads(self._result_file(cell).read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        if stored.pop("run") != self._digest(cell):
            return None
        return Trial(cell, **stored)

    def _keep(self, trial: Trial) -> None:
        numbers = {key: value for key, value in asdict(trial).items() if key != "cell"}
        content = json.dumps({"run": self._digest(trial.cell), **numbers}, indent=1)
        self._result_file(trial.cell).write_text(f"{content}\n", encoding="utf-8")

    def _result_file(self, cell: Cell) -> Path:
        return self.folder / f"{cell.arm}.json"

    def _digest(self, cell: Cell) -> str:
        content = self.run_of(cell).model_dump_json() + self._prompts.read_text(encoding="utf-8")
        return sha256(content.encode()).hexdigest()


def best_of(trials: Sequence[Trial]) -> Trial:
    """The trial of the highest gain.

    Raises:
        TrainingError: every run stopped early.
    """
    finished = [trial for trial in trials if trial.gain is not None]
    if not finished:
        raise TrainingError(f"no run of {len(trials)} cells could be trained to its end; the first: {trials[0].error}")
    return max(finished, key=lambda trial: trial.gain or 0.0)
