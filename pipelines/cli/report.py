"""`rft report`: the page of a run, or a comparison of several runs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reward_finetuning.config import UserError, load_config
from reward_finetuning.pipelines.cli.options import Override
from reward_finetuning.pipelines.cli.run_files import complete, run_files
from reward_finetuning.pipelines.cli.sync import send_if_done
from reward_finetuning.pipelines.cli.terminal import make_console
from reward_finetuning.pipelines.local.folder import folder_here
from reward_finetuning.storage import RunDirectory

if TYPE_CHECKING:
    from rich.console import Console

    from reward_finetuning.records import EvaluatedSamples
    from reward_finetuning.report.runs import EvaluatedRun


def report(
    configs: Annotated[
        list[Path],
        typer.Argument(
            metavar="CONFIG...",
            callback=run_files,
            autocompletion=complete,
            help="Run files, or their names; the first run is the baseline.",
        ),
    ],
    override: Override = None,
    output: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE", help="Output file; default: <run>/report.html, or comparison.html for several runs."
        ),
    ] = None,
) -> None:
    """Write the page of the newest evaluation of a run, or a page that compares several runs.

    Example: `rft report shapes-prdp shapes-ppod-online`
    """
    runs = [_run_directory(config, override or []) for config in configs]
    console = make_console()
    page = _report_run(runs[0], output, console) if len(runs) == 1 else _compare_runs(runs, output, console)
    for run in runs:
        send_if_done(run)
    console.print(f"page  {page.absolute().as_uri()}", highlight=False, soft_wrap=True, markup=False)


def _run_directory(config: Path, override: Sequence[str]) -> RunDirectory:
    run = RunDirectory(load_config(config, override))
    if run.describe() is None:
        raise UserError(f"{run.uri} contains no run; start one with: rft run {config}")
    return run


def _report_run(run: RunDirectory, output: Path | None, console: Console) -> Path:
    from reward_finetuning.evaluation.pages import run_page
    from reward_finetuning.evaluation.reports import PAGE
    from reward_finetuning.pipelines.cli.tables import print_evaluation
    from reward_finetuning.report.comparison import compare

    before, after = _newest_evaluation(run)
    page = output or folder_here(run) / PAGE
    run_page(run, compare(before, after), before, after).write(page)
    print_evaluation(run, console)
    return page


def _compare_runs(runs: Sequence[RunDirectory], output: Path | None, console: Console) -> Path:
    from reward_finetuning.evaluation.pages import training_curves
    from reward_finetuning.pipelines.cli.tables import print_runs
    from reward_finetuning.report.runs import compare_runs
    from reward_finetuning.report.runs_page import render_runs
    from reward_finetuning.tracking import history

    evaluated = _with_unique_names([_evaluated_run(run) for run in runs], runs)
    comparison = compare_runs(evaluated)
    curves = {
        evaluated_run.name: training_curves(run, history(run))
        for evaluated_run, run in zip(evaluated, runs, strict=True)
    }
    page = output or Path("comparison.html")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render_runs(evaluated, comparison, curves), encoding="utf-8")
    print_runs(comparison, console)
    return page


def _newest_evaluation(run: RunDirectory) -> tuple[EvaluatedSamples, EvaluatedSamples]:
    """The images of the pretrained model and of the newest evaluated policy."""
    from reward_finetuning.evaluation.reports import newest_report
    from reward_finetuning.storage.artifacts.evaluations import read_evaluation

    if (names := newest_report(run)) is None:
        raise UserError(
            f"{run.uri} contains no evaluation yet: resume it with rft run, which evaluates at loop.evaluate_every"
        )
    before, after = (read_evaluation(run.store, name) for name in names)
    return before, after


def _evaluated_run(run: RunDirectory) -> EvaluatedRun:
    from reward_finetuning.report.runs import EvaluatedRun

    before, after = _newest_evaluation(run)
    return EvaluatedRun(run.config.name, before, after, run.config.reward.weights, run.config.seed)


def _with_unique_names(evaluated: Sequence[EvaluatedRun], runs: Sequence[RunDirectory]) -> list[EvaluatedRun]:
    """Runs with equal names in different roots get their folders as names."""
    names = [run.name for run in evaluated]
    uris = [run.uri for run in runs]
    if len(set(uris)) < len(uris):
        raise UserError(f"rft report compares different runs, got {', '.join(uris)}; give each run once")
    return [
        replace(run, name=uri) if names.count(run.name) > 1 else run for run, uri in zip(evaluated, uris, strict=True)
    ]
