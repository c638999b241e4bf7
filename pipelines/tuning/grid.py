"""Grids of settings: their cells, and the cell that is selected by gain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from reward_finetuning.config import RunConfig
from reward_finetuning.config.sections.objective import DdpoConfig, DpokConfig, PpodConfig, PrdpConfig, RwrConfig


@dataclass(frozen=True)
class Cell:
    """One combination of a grid's settings."""

    method: str
    knobs: dict[str, float]
    """Short name -> value."""

    settings: dict[str, Any]
    """The same as sections of a run file."""

    @property
    def arm(self) -> str:
        """Name of the cell's run, for example "prdp-lr0.01-u4-beta1"."""
        return "-".join([self.method, *(f"{knob}{value:g}" for knob, value in self.knobs.items())])


def cells(method: str, knobs: Mapping[str, Mapping[str, Sequence[float]]]) -> Iterator[Cell]:
    """Every cell of a grid.

    Args:
        method: name of the objective.
        knobs: short name -> {"section.key": values}.
    """
    paths = {knob: next(iter(values)) for knob, values in knobs.items()}
    for values in product(*(knobs[knob][path] for knob, path in paths.items())):
        chosen = dict(zip(paths, values, strict=True))
        settings: dict[str, Any] = {}
        for knob, value in chosen.items():
            section, _, key = paths[knob].partition(".")
            settings.setdefault(section, {})[key] = value
        yield Cell(method, chosen, settings)


def selected(
    grid: Sequence[Cell], gains: Mapping[str, float | None], among: Mapping[str, float] | None = None
) -> Cell | None:
    """The cell of the highest gain, of those with the knobs of `among`.

    Args:
        grid: all cells.
        gains: arm -> its gain; None for a run that stopped early, which is never selected.
        among: knob -> the value that a cell must have.

    Returns:
        None while a cell has no result, and where every run stopped early.
    """
    candidates = [cell for cell in grid if all(cell.knobs[knob] == value for knob, value in (among or {}).items())]
    if any(cell.arm not in gains for cell in candidates):
        return None
    finished = [(gain, cell) for cell in candidates if (gain := gains[cell.arm]) is not None]
    return max(finished, key=lambda scored: scored[0])[1] if finished else None


def around(config: RunConfig, num_cells: int) -> list[Cell]:
    """The `num_cells` cells nearest to a run file's values, its own first.

    The whole grid has three learning rates (a third, the run file's, three times it), the updates per epoch halved and
    doubled, and three values of the method's own knob. Cells differ from the run file in one setting first; those that
    differ in two have learning rate and updates before the knob.
    """
    knobs = {
        "lr": {"training.learning_rate": _scaled(config.training.learning_rate, (1.0, 1 / 3, 3.0))},
        "u": {"training.updates_per_epoch": _counts(config.training.updates_per_epoch)},
        **_own_knob(config),
    }
    steps = {knob: list(next(iter(values.values()))) for knob, values in knobs.items()}

    def distance(cell: Cell) -> tuple[int, int]:
        changed = [cell.knobs[knob] != values[0] for knob, values in steps.items()]
        return sum(changed), sum(changed[2:])

    return sorted(cells(config.objective.name, knobs), key=distance)[:num_cells]


def _own_knob(config: RunConfig) -> dict[str, dict[str, list[float]]]:
    """The setting that is a method's own, its value first."""
    match config.objective:
        case PrdpConfig(kl_weight=weight):
            return {"beta": {"objective.kl_weight": _scaled(weight, (1.0, 0.1, 10.0))}}
        case PpodConfig(kl_weight=weight):
            return {"eta": {"objective.kl_weight": _scaled(weight, (1.0, 0.1, 10.0))}}
        case DpokConfig(kl_weight=weight):
            return {"kl": {"objective.kl_weight": _scaled(weight, (1.0, 0.1, 10.0)) if weight else [0.0, 0.1]}}
        case DdpoConfig(max_advantage=bound):
            return {"clamp": {"objective.max_advantage": _scaled(bound, (1.0, 0.3, 3.0))}}
        case RwrConfig(weighting="softmax", temperature=temperature):
            return {"temperature": {"objective.temperature": _scaled(temperature, (1.0, 0.3, 3.0))}}
        case RwrConfig(share=share):
            return {"share": {"objective.share": _scaled(share, (1.0, 0.5, 2.0) if share < 0.5 else (1.0, 0.5))}}


def _scaled(value: float, factors: Sequence[float]) -> list[float]:
    """The value itself, and others rounded to two digits."""
    return [value if factor == 1 else float(f"{value * factor:.2g}") for factor in factors]


def _counts(updates: int) -> list[float]:
    return list(dict.fromkeys([updates, 2 * updates, max(1, updates // 2)]))
