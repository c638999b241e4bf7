"""The grids that methods are tuned on: their cells, and the cell that the rule selects."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any


@dataclass(frozen=True)
class Cell:
    """One combination of a grid's settings."""

    method: str
    scale: str
    knobs: dict[str, float]
    """Short name -> value, as in study.yaml."""

    settings: dict[str, Any]
    """The same as sections of a run file."""

    @property
    def arm(self) -> str:
        """Name of its result file."""
        return "-".join([self.method, *(f"{knob}{value:g}" for knob, value in self.knobs.items())])


def cells(method: str, grid: Mapping[str, Any]) -> Iterator[Cell]:
    """Every cell of a method's grid."""
    knobs = {knob: dict(values) for knob, values in grid.items() if knob != "scale"}
    paths = {knob: next(iter(values)) for knob, values in knobs.items()}
    for values in product(*(knobs[knob][path] for knob, path in paths.items())):
        chosen = dict(zip(paths, values, strict=True))
        settings: dict[str, Any] = {}
        for knob, value in chosen.items():
            section, _, key = paths[knob].partition(".")
            settings.setdefault(section, {})[key] = value
        yield Cell(method, grid["scale"], chosen, settings)


def selected(
    grid: list[Cell], gains: Mapping[str, float | None], among: Mapping[str, float] | None = None
) -> Cell | None:
    """The cell of the highest gain on training prompts, of those with the knobs of `among`.

    Args:
        grid: all cells of a method.
        gains: arm -> its gain on the tuning seed; None for a run that stopped early, which is never selected.
        among: knob -> the value that a cell must have.

    Returns:
        None while a cell has no result.
    """
    candidates = [cell for cell in grid if all(cell.knobs[knob] == value for knob, value in (among or {}).items())]
    if any(cell.arm not in gains for cell in candidates):
        return None
    return max(candidates, key=lambda cell: -2.0 if gains[cell.arm] is None else float(gains[cell.arm] or 0.0))
