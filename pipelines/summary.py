"""What a run has come to, for a terminal."""

from __future__ import annotations

import shutil
from pathlib import Path

from rich.console import Console
from rich.table import Table

from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import MlflowTracker, history

_CURVES = {
    "reward/mean": "reward",
    "reward/std": "spread",
    "train/loss": "loss",
    "train/clip_fraction": "clipped",
    "train/grad_norm": "grad norm",
    "sample/kl_to_reference": "KL to reference",
    "sample/images_per_second": "images/s",
}


def print_status(run: RunDirectory, console: Console) -> None:
    """Epochs done, the newest epochs' numbers, and the newest evaluation."""
    latest, loop = run.latest(), run.config.loop
    console.print(f"{run.config.name}: epoch {latest.epoch} of {loop.epochs}  ({run.uri})", highlight=False)
    curves = history(run)
    table = Table("epoch", *_CURVES.values())
    for epoch in sorted({epoch for epoch, _ in curves.get("reward/mean", [])})[-10:]:
        values = [dict(curves.get(key, [])).get(epoch) for key in _CURVES]
        table.add_row(str(epoch), *("" if value is None else f"{value:.4g}" for value in values))
    if table.row_count:
        console.print(table)
    print_evaluation(run, console)


def print_evaluation(run: RunDirectory, console: Console) -> None:
    """The table of the newest report, before against after."""
    epoch = _newest_report(run)
    if epoch is None:
        console.print("no epoch has been evaluated yet")
        return
    from reward_finetuning.report.comparison import as_table, compare
    from reward_finetuning.steps.evaluate import report_name
    from reward_finetuning.storage.evaluations import read_evaluation

    before, after = (read_evaluation(run.store.fetch(report_name(run, number))) for number in (0, epoch))
    comparison = compare(before, after)
    header, *rows = as_table(comparison)
    table = Table(
        header[0],
        *header[2:],
        title=f"pretrained against epoch {epoch}, same noise, 95 % intervals",
        title_justify="left",
    )
    for row in rows:
        if not row[1]:  # the categories inside a set are on the page
            table.add_row(row[0], *row[2:])
    console.print(table)
    console.print(comparison.verdict, highlight=False, markup=False)


def print_where_to_look(run: RunDirectory, console: Console) -> None:
    """Copy the newest page to the run directory's top and say where everything lies."""
    epoch = _newest_report(run)
    if epoch is None:
        return
    from reward_finetuning.steps.evaluate import PAGE, report_name

    page = Path(run.uri) / PAGE
    shutil.copyfile(run.store.fetch(report_name(run, epoch), [PAGE]) / PAGE, page)
    tracker = MlflowTracker(run)
    for what, where in {
        "page": page.as_uri(),
        "policy": f"{run.uri}/{run.latest().name}",
        "MLflow": f"mlflow ui --backend-store-uri {tracker.uri}  (run {tracker.run_id})",
    }.items():
        console.print(f"{what:>7}  {where}", highlight=False, soft_wrap=True, markup=False)


def _newest_report(run: RunDirectory) -> int | None:
    epochs = [int(name) for name in run.store.names("epochs") if int(name) > 0]
    reported = (e for e in epochs if any(n.startswith("report-") for n in run.store.names(f"epochs/{e:04d}")))
    return max(reported, default=None)
