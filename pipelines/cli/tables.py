"""Progress and results of runs as tables for a terminal."""

from __future__ import annotations

import shutil
from itertools import groupby
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from reward_finetuning.config.display import redacted
from reward_finetuning.pipelines.local.folder import folder_here
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.refusal import read_refusal
from reward_finetuning.tracking import MlflowTracker, history

if TYPE_CHECKING:
    from reward_finetuning.report.runs import RunsComparison

_CURVES = {
    "reward/mean": "reward",
    "reward/std": "spread",
    "train/loss": "loss",
    "train/clip_fraction": "clipped",
    "train/grad_norm": "gradient",
    "sample/kl_to_reference": "KL",
    "sample/images_per_second": "img/s",
}


def print_status(run: RunDirectory, console: Console) -> None:
    """Print the number of epochs, the metrics of the newest epochs, and the newest evaluation."""
    latest, loop = run.latest(), run.config.loop
    console.print(f"{run.config.name}: epoch {latest.epoch} of {loop.epochs}  ({run.uri})", highlight=False)
    if refusal := read_refusal(run.store):
        where = f"{refusal.task}, attempt {refusal.attempt}, {refusal.time:%Y-%m-%d %H:%M} UTC"
        console.print(f"refused in {where}: {refusal.message}", highlight=False, markup=False, soft_wrap=True)
    curves = history(run)
    table = Table("epoch", *_CURVES.values(), box=None, padding=(0, 2, 0, 0))
    for epoch in sorted({epoch for epoch, _ in curves.get("reward/mean", [])})[-10:]:
        values = [dict(curves.get(key, [])).get(epoch) for key in _CURVES]
        table.add_row(str(epoch), *("" if value is None else f"{value:.3g}" for value in values))
    if table.row_count:
        console.print(table)
    _print_settings(run, console)
    print_evaluation(run, console)


def _print_settings(run: RunDirectory, console: Console) -> None:
    """Print what the doctor measures at the newest epoch, and its advice."""
    from reward_finetuning.training.monitor import readings_of

    readings = readings_of(run)
    table = Table("settings (docs/settings.md)", "value", "limit", box=None, padding=(0, 2, 0, 0))
    for reading in readings:
        limit = f"{reading.limit:g} {reading.unit}".strip()
        table.add_row(reading.label, f"{reading.value:.2g}", limit)
    if readings:
        console.print(table)
    for reading in readings:
        if reading.advice:
            console.print(reading.warning, highlight=False, markup=False, soft_wrap=True)


def print_evaluation(run: RunDirectory, console: Console) -> None:
    """Print the newest evaluation: the pretrained model against the newest policy."""
    from reward_finetuning.evaluation.reports import newest_report

    if (names := newest_report(run)) is None:
        console.print("no epoch has been evaluated yet")
        return
    from reward_finetuning.report.comparison import as_table, compare
    from reward_finetuning.report.sections import cautions
    from reward_finetuning.report.summary import in_sentences
    from reward_finetuning.storage.artifacts.evaluations import read_evaluation

    before, after = (read_evaluation(run.store, name) for name in names)
    comparison = compare(before, after)
    header, *rows = (_narrow(row) for row in as_table(comparison) if not row[1] or row[1] == "category")
    title = f"pretrained against epoch {after.epoch}, same noise, 95 % intervals"
    table = Table(*header, box=None, padding=(0, 2, 0, 0), title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for sentence in (comparison.verdict, *in_sentences(cautions(comparison.rows))):
        console.print(sentence, highlight=False, markup=False)


def print_runs(comparison: RunsComparison, console: Console) -> None:
    """Print a table with one column per run, and the verdicts."""
    from reward_finetuning.report.runs_page import runs_table

    header, *rows = runs_table(comparison)
    title = "mean reward (change against the pretrained model of the run); * significant at 95 %"
    table = Table(*header, box=None, padding=(0, 2, 0, 0), title=title, title_justify="left")
    for row in rows:
        table.add_row(*row)
    console.print(table)
    for sentence in comparison.verdicts:
        console.print(sentence, highlight=False, markup=False)
    for column in comparison.columns:
        if column.unpaired:
            baseline = comparison.columns[0].name
            message = f"{column.name} cannot be compared with {baseline} image by image: {column.unpaired}"
            console.print(message, highlight=False, markup=False)


def print_policies(comparison: RunsComparison, console: Console) -> None:
    """Print a table per prompt set with one row per reward and policy, and the verdicts."""
    from reward_finetuning.report.runs_page import policies_table
    from reward_finetuning.report.sections import cautions
    from reward_finetuning.report.summary import in_sentences

    _, *rows = policies_table(comparison)
    header = ("reward", "policy", "mean", "change", "95 % interval", "finding")
    for prompt_set, group in groupby(rows, key=lambda row: row[0]):
        title = f"{prompt_set}: every policy against {comparison.columns[0].name}, same noise, 95 % intervals"
        table = Table(*header, box=None, padding=(0, 2, 0, 0), title=Text(title), title_justify="left")
        previous = ""
        for _, reward, *cells in group:
            table.add_row("" if reward == previous else Text(reward), *map(Text, cells))
            previous = reward
        console.print(table)
    for sentence in (*comparison.verdicts, *in_sentences(cautions(comparison.differences))):
        console.print(sentence, highlight=False, markup=False)


def print_locations(run: RunDirectory, console: Console) -> None:
    """Copy the newest page to the folder of the run, and print the locations of page, policy and MLflow data."""
    from reward_finetuning.evaluation.reports import PAGE, newest_report
    from reward_finetuning.report.page import PICTURES

    if (names := newest_report(run)) is None:
        return
    page = folder_here(run) / PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    report = run.store.fetch(names[1])
    shutil.copyfile(report / PAGE, page)
    if (report / PICTURES).is_dir():
        shutil.copytree(report / PICTURES, page.parent / PICTURES, dirs_exist_ok=True)
    tracker = MlflowTracker(run)
    locations = {"page": page.as_uri(), "policy": f"{run.uri}/{run.latest().name}"}
    if run.config.tracking.enabled and tracker.has_server:
        locations["MLflow"] = f"mlflow ui --backend-store-uri {redacted(tracker.uri)}  (run {tracker.run_id})"
    for label, location in locations.items():
        console.print(f"{label:>7}  {location}", highlight=False, soft_wrap=True, markup=False)


def _narrow(row: tuple[str, ...]) -> tuple[str, ...]:
    """The columns that fit into 80 characters. The page also has categories and win rates."""
    prompt_set, _, *numbers, _, finding = row
    return (prompt_set, *numbers, finding)
