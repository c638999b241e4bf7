"""Every evaluated epoch in a row: how the combined reward went, stage by stage."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from reward_finetuning.report.charts.curves import Points
from reward_finetuning.report.comparison import Comparison, Row, metric_name, reward_decimals
from reward_finetuning.report.wording import number, shortened, signed

MOST_STAGES = 12
"""The newest ones are shown; the curves have all."""


@dataclass(frozen=True, slots=True)
class Cell:
    """One epoch on one prompt set; the pretrained model has a mean alone."""

    prompt_set: str
    mean: str
    change: str = ""
    between: str = ""
    direction: Literal["better", "worse", "unsure"] = "unsure"


@dataclass(frozen=True, slots=True)
class Stage:
    """One evaluated epoch."""

    name: str
    cells: tuple[Cell, ...]


def stages(comparison: Comparison, curves: Mapping[str, Points], epoch: int) -> list[Stage]:
    """The pretrained model and each evaluated epoch up to `epoch`, oldest first; empty where there is only one.

    Args:
        comparison: of the newest policy, of `epoch`, with the pretrained model.
        curves: `eval/<set>/reward/gain`, `gain_low` and `gain_high` of the epochs before.
        epoch: of the newest policy.
    """
    rows = [row for row in comparison.rows if row.category is None and row.reward == "reward"]
    found = {row.prompt_set: dict(_gains(row, curves, epoch)) for row in rows}
    epochs = sorted(set[int]().union(*found.values()))
    if len(epochs) < 2:
        return []
    places = reward_decimals(comparison)["reward"]
    pretrained = Stage(comparison.before, tuple(Cell(_name(row), number(row.before, places)) for row in rows))
    return [pretrained, *(_stage(each, rows, found, places) for each in epochs[-MOST_STAGES:])]


def _gains(row: Row, curves: Mapping[str, Points], epoch: int) -> Iterator[tuple[int, tuple[float, float, float]]]:
    """(epoch, (gain, low, high)) of every epoch that has all three."""
    names = [metric_name(row, part) for part in ("gain", "gain_low", "gain_high")]
    gain, low, high = (dict(curves.get(name, ())) for name in names)
    for before in sorted(gain.keys() & low.keys() & high.keys()):
        if before < epoch:
            yield before, (gain[before], low[before], high[before])
    yield epoch, (row.gain.mean, row.gain.low, row.gain.high)


def _stage(
    epoch: int, rows: list[Row], found: Mapping[str, Mapping[int, tuple[float, float, float]]], places: int
) -> Stage:
    cells = (_cell(row, found[row.prompt_set].get(epoch), places) for row in rows)
    return Stage(f"epoch {epoch}", tuple(cells))


def _cell(row: Row, gained: tuple[float, float, float] | None, places: int) -> Cell:
    if gained is None:
        return Cell(_name(row), "not evaluated")
    gain, low, high = gained
    return Cell(
        _name(row),
        mean=number(row.before + gain, places),
        change=signed(gain, places),
        between=f"{signed(low, places)} to {signed(high, places)}",
        direction="better" if low > 0 else "worse" if high < 0 else "unsure",
    )


def _name(row: Row) -> str:
    return shortened(row.prompt_set, 40)
