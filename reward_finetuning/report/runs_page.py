"""Page and terminal tables for the comparison of several runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

from reward_finetuning.report.charts.curves import Points, thinned
from reward_finetuning.report.charts.drawing import Overlay, Series, draw, keys, plot_series
from reward_finetuning.report.charts.kl_by_step import draw_kl_by_step
from reward_finetuning.report.comparison import MEASURES, Row
from reward_finetuning.report.formatting import category_name, change_and_bounds, decimals, number, shortened
from reward_finetuning.report.html import render
from reward_finetuning.report.page import MOST_BYTES
from reward_finetuning.report.pictures.rows import strips
from reward_finetuning.report.runs import EvaluatedRun, RunColumn, RunsComparison
from reward_finetuning.report.sections import cautions

_EDGES = ("/std", "_low", "_high")
"""Curves that are edges of a band; they are omitted, because bands of several runs would overlap."""


@dataclass(frozen=True, slots=True)
class Change:
    """A difference, as text."""

    change: str
    interval: str
    direction: str


@dataclass(frozen=True, slots=True)
class RunCell:
    """One run, prompt set and reward."""

    run: str
    after: str
    """The mean reward; empty if the run was not scored with this reward."""

    pretrained: Change | None
    first: Change | None
    """Difference from the first run, if images pair."""


@dataclass(frozen=True, slots=True)
class RunRow:
    """One prompt set and reward."""

    prompt_set: str
    reward: str
    cells: tuple[RunCell, ...]


@dataclass(frozen=True, slots=True)
class CategoryTable:
    """One reward per category of a prompt set: every other policy against the first."""

    reward: str
    lines: list[tuple[str, list[Change | None]]]


def render_runs(
    runs: Sequence[EvaluatedRun], comparison: RunsComparison, curves: Mapping[str, Mapping[str, Points]]
) -> str:
    """The comparison as one HTML page below 2 MB.

    Args:
        runs: the policies.
        comparison: result of `compare_runs(runs)`.
        curves: run -> name of the curve -> (epoch, value).
    """
    names = [shortened(column.name, 60) for column in comparison.columns]
    has_pretrained = any(column.against_pretrained for column in comparison.columns)
    content = {
        "names": names,
        "columns": comparison.columns,
        "verdicts": comparison.verdicts,
        "groups": [(name, list(rows)) for name, rows in groupby(run_rows(comparison), key=lambda row: row.prompt_set)],
        "categories": category_tables(comparison),
        "notes": [(name, column.unpaired) for name, column in zip(names, comparison.columns, strict=True)],
        "keys": keys(names),
        "overlays": draw_runs(curves),
        "kl_steps": draw_kl_by_step({run.name: run.after for run in runs}),
        "measures": {name for _, name in comparison.rows} & set(MEASURES),
        "has_pretrained": has_pretrained,
        "cautions": cautions(comparison.differences),
    }
    shell = render("runs.html", content | {"strips": ()})
    room = MOST_BYTES - len(shell.encode())
    return render("runs.html", content | {"strips": strips(runs, comparison, num_bytes=room)})


def run_rows(comparison: RunsComparison) -> list[RunRow]:
    """All rewards on all prompt sets, with the number of decimals from the narrowest interval."""
    rows = []
    for key in comparison.rows:
        differences = [row for column in comparison.columns for row in (_rows(column, key)) if row]
        places = decimals(min(((row.gain.high - row.gain.low) / 2 for row in differences), default=0.0))
        cells = tuple(_cell(column, key, places) for column in comparison.columns)
        rows.append(RunRow(shortened(key[0], 60), shortened(key[1], 60), cells))
    return rows


def category_tables(comparison: RunsComparison) -> dict[str, CategoryTable]:
    """Prompt set -> table, for prompt sets with several categories: the combined reward, or the first common reward."""
    tables = {}
    for prompt_set, group in groupby(comparison.rows, key=lambda key: key[0]):
        reward = next(group)[1]
        by_policy = [
            {c: row for (s, r, c), row in column.by_category.items() if (s, r) == (prompt_set, reward)}
            for column in comparison.columns
        ]
        names = sorted(set[str]().union(*by_policy))
        if names:
            widths = ((row.gain.high - row.gain.low) / 2 for rows in by_policy for row in rows.values())
            places = decimals(min(widths))
            lines = [
                (category_name(name), [_change(rows.get(name), places) for rows in by_policy[1:]]) for name in names
            ]
            tables[shortened(prompt_set, 60)] = CategoryTable(shortened(reward, 60), lines)
    return tables


def runs_table(comparison: RunsComparison) -> list[tuple[str, ...]]:
    """The comparison as text for a terminal, after a heading. A star marks a finding."""
    first = comparison.columns[0].name
    against = [f"{column.name} − {first}" for column in comparison.columns[1:]]
    heading = ("prompt set", "reward", *(column.name for column in comparison.columns), *against)
    return [heading, *((row.prompt_set, row.reward, *_texts(row)) for row in run_rows(comparison))]


def policies_table(comparison: RunsComparison) -> list[tuple[str, ...]]:
    """One row per prompt set, reward and policy, compared with the first policy, after a heading."""
    heading = ("prompt set", "reward", "policy", "mean", f"− {comparison.columns[0].name}", "95 % interval", "finding")
    rows = [
        (row.prompt_set, row.reward, cell.run, cell.after, *_against(cell.first))
        for row in run_rows(comparison)
        for cell in row.cells
    ]
    return [heading, *rows]


def _against(change: Change | None) -> tuple[str, str, str]:
    return ("", "", "") if change is None else (change.change, change.interval, change.direction)


def draw_runs(curves: Mapping[str, Mapping[str, Points]]) -> list[Overlay]:
    """One figure per curve with all runs overlaid. Run k has the same style in every figure."""
    names = dict.fromkeys(name for of_run in curves.values() for name in of_run if not name.endswith(_EDGES))
    return [_overlay(name, {run: of_run.get(name, ()) for run, of_run in curves.items()}) for name in names]


def _overlay(name: str, by_run: Mapping[str, Points]) -> Overlay:
    series = [Series(shortened(run, 60), thinned(points)) for run, points in by_run.items()]
    ends = [f"{line.label} ends at {number(line.points[-1][1], 4)}" for line in series if line.points]
    return Overlay(
        shortened(name, 60),
        f"{shortened(name, 60)} by epoch: {', '.join(ends)}",
        draw(f"runs {name}", lambda axes: _plot(axes, series)),
        (),
    )


def _plot(axes: Any, series: Sequence[Series]) -> None:
    from matplotlib.ticker import MaxNLocator

    plot_series(axes, series, max_markers=6)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.02)


def _cell(column: RunColumn, key: tuple[str, str], places: int) -> RunCell:
    against_pretrained, against_first = _rows(column, key)
    mean = column.means.get(key)
    after = "" if mean is None else number(mean, places)
    return RunCell(
        shortened(column.name, 60), after, _change(against_pretrained, places), _change(against_first, places)
    )


def _rows(column: RunColumn, key: tuple[str, str]) -> tuple[Row | None, Row | None]:
    """Comparisons with the pretrained model and with the first run."""
    return column.against_pretrained.get(key), column.against_first.get(key)


def _change(row: Row | None, places: int) -> Change | None:
    if row is None:
        return None
    change, low, high = change_and_bounds(row.gain.mean, row.gain.low, row.gain.high, places)
    return Change(change, f"{low} to {high}", row.direction)


def _texts(row: RunRow) -> list[str]:
    means = [f"{cell.after} ({_starred(cell.pretrained)})" if cell.pretrained else cell.after for cell in row.cells]
    return means + [_starred(cell.first) if cell.first else "" for cell in row.cells[1:]]


def _starred(change: Change) -> str:
    return change.change + ("*" if change.direction in {"better", "worse"} else "")
