"""What a search leaves: the run file of the best cell, and the table of all."""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import yaml

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.tuning.search import Trial

NOTE = (
    "Gain in mean reward on training prompts. The highest of several is biased upwards: a run of the tuned file, which "
    "has another seed, gives an honest one."
)

_FIRST_LINE = "# Chosen by rft tune; sha256 of the lines below: "


def tuned_path(config_file: Path) -> Path:
    """RUN-tuned.yaml in the working directory, as paths in a run file are relative to it."""
    return Path(f"{config_file.stem}-tuned.yaml")


def check_target(path: Path) -> None:
    """Refuse to replace what `rft tune` has not written, or what was changed since.

    Raises:
        UserError: naming the file and the option that replaces it.
    """
    if not path.exists():
        return
    first, _, rest = path.read_text(encoding="utf-8").partition("\n")
    if first != _FIRST_LINE + sha256(rest.encode()).hexdigest():
        raise UserError(
            f"{path} was not written by rft tune, or was changed since: move it, or replace it with --force"
        )


def run_file(tree: dict[str, Any], best: Trial, num_cells: int, num_epochs: int) -> str:
    """The text of a run file: the sections of `tree` with the settings of the best trial."""
    merged = {**tree, "name": f"{tree['name']}-tuned"}
    for section, values in best.cell.settings.items():
        merged[section] = {**(merged.get(section) or {}), **values}
    body = f"# {best.cell.arm}: the highest gain of {num_cells} cells of {num_epochs} epochs.\n"
    body += yaml.safe_dump(merged, sort_keys=False, allow_unicode=True)
    return f"{_FIRST_LINE}{sha256(body.encode()).hexdigest()}\n{body}"


def table(trials: Sequence[Trial]) -> list[tuple[str, ...]]:
    """Heading and rows, the highest gain first; the selected cell is marked."""
    heading = (*trials[0].cell.knobs, "gain", "95 % interval", "")
    ordered = sorted(trials, key=lambda trial: -2.0 if trial.gain is None else trial.gain, reverse=True)
    return [heading, *(_row(trial, is_best=place == 0) for place, trial in enumerate(ordered))]


def _row(trial: Trial, *, is_best: bool) -> tuple[str, ...]:
    knobs = tuple(f"{value:g}" for value in trial.cell.knobs.values())
    if trial.gain is None:
        return (*knobs, "", "", trial.error.partition("\n")[0][:120])
    interval = f"{trial.low:+.3f} to {trial.high:+.3f}"
    return (*knobs, f"{trial.gain:+.3f}", interval, "selected" if is_best else "")
