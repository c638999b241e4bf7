"""The combined reward of every evaluated epoch."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from reward_finetuning.report.charts.curves import Points
from reward_finetuning.report.comparison import Comparison, Row, metric_name, reward_decimals
from reward_finetuning.report.formatting import change_and_bounds, number, shortened

MAX_STAGES = 12
"""Number of newest epochs in the table; the curves show all."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One epoch on one prompt set; the pretrained model has only a mean."""

    prompt_set: str
    mean: str
    change: str = ""
    interval: str = ""
    direction: Literal["better", "worse", "unsure"] = "unsure"


@dataclass(frozen=True, slots=True)
class Stage:
    """One evaluated epoch."""

    name: str
    cells: tuple[Cell, ...]


def stages(comparison: Comparison, curves: Mapping[str, Points], epoch: int) -> list[Stage]:
    """The pretrained model and each evaluated epoch up to `epoch`, oldest first; empty with fewer than two epochs.

    Args:
        comparison: comparison of the newest policy with the pretrained model.
        curves: `eval/<set>/reward/gain`, `gain_low` and `gain_high` of earlier epochs.
        epoch: epoch of the newest policy.
    """
    rows = [row for row in comparison.rows if row.category is None and row.reward == "reward"]
    gains = {row.prompt_set: dict(_gains(row, curves, epoch)) for row in rows}
    epochs = sorted(set[int]().union(*gains.values()))
    if len(epochs) < 2:
        return []
    places = reward_decimals(comparison)["reward"]
    pretrained = Stage(comparison.before, tuple(Cell(_name(row), number(row.before, places)) for row in rows))
    return [pretrained, *(_stage(evaluated, rows, gains, places) for evaluated in epochs[-MAX_STAGES:])]


def _gains(row: Row, curves: Mapping[str, Points], epoch: int) -> Iterator[tuple[int, tuple[float, float, float]]]:
    """(epoch, (gain, low, high)) of every epoch with all three values."""
    names = [metric_name(row, part) for part in ("gain", "gain_low", "gain_high")]
    gain, low, high = (dict(curves.get(name, ())) for name in names)
    for earlier in sorted(gain.keys() & low.keys() & high.keys()):
        if earlier < epoch:
            yield earlier, (gain[earlier], low[earlier], high[earlier])
    yield epoch, (row.gain.mean, row.gain.low, row.gain.high)


def _stage(
    epoch: int, rows: list[Row], gains: Mapping[str, Mapping[int, tuple[float, float, float]]], places: int
) -> Stage:
    cells = (_cell(row, gains[row.prompt_set].get(epoch), places) for row in rows)
    return Stage(f"epoch {epoch}", tuple(cells))


def _cell(row: Row, values: tuple[float, float, float] | None, places: int) -> Cell:
    if values is None:
        return Cell(_name(row), "not evaluated")
    gain, low, high = values
    change, shown_low, shown_high = change_and_bounds(gain, low, high, places)
    return Cell(
        _name(row),
        mean=number(row.before + gain, places),
        change=change,
        interval=f"{shown_low} to {shown_high}",
        direction="better" if low > 0 else "worse" if high < 0 else "unsure",
    )


def _name(row: Row) -> str:
    return shortened(row.prompt_set, 40)
