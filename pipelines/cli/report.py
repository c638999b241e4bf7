"""`rft report`: the page of a finished run, or of several held against each other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipelines.cli.options import Override
from pipelines.local.folder import folder_here
from reward_finetuning.config import UserError, load_config
from reward_finetuning.storage import RunDirectory

if TYPE_CHECKING:
    from reward_finetuning.records import EvaluatedSamples
    from reward_finetuning.report.runs import EvaluatedRun


def report(
    configs: Annotated[list[Path], typer.Argument(metavar="CONFIG...", help="Run files; the first is the yardstick.")],
    override: Override = None,
    output: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Where the page goes: <run>/report.html, or comparison.html for several."),
    ] = None,
) -> None:
    """Write the page of a run's newest evaluation, or one page that compares several runs.

    Example: `rft report pipelines/runs/shapes-prdp.yaml pipelines/runs/shapes-ppod-online.yaml`
    """
    runs = [_opened(config, override or []) for config in configs]
    console = Console()
    page = _single(runs[0], output, console) if len(runs) == 1 else _several(runs, output, console)
    console.print(f"page  {page.absolute().as_uri()}", highlight=False, soft_wrap=True, markup=False)


def _opened(config: Path, override: Sequence[str]) -> RunDirectory:
    run = RunDirectory(load_config(config, override))
    if run.describe() is None:
        raise UserError(f"{run.uri} holds no run; begin one with: rft run {config}")
    return run


def _single(run: RunDirectory, output: Path | None, console: Console) -> Path:
    from pipelines.cli.tables import print_evaluation
    from reward_finetuning.evaluation.pages import run_page
    from reward_finetuning.evaluation.reports import PAGE
    from reward_finetuning.report.comparison import compare

    before, after = _newest(run)
    page = output or folder_here(run) / PAGE
    run_page(run, compare(before, after), before, after).write(page)
    print_evaluation(run, console)
    return page


def _several(runs: Sequence[RunDirectory], output: Path | None, console: Console) -> Path:
    from pipelines.cli.tables import print_runs
    from reward_finetuning.evaluation.pages import training_curves
    from reward_finetuning.report.runs import compare_runs
    from reward_finetuning.report.runs_page import render_runs
    from reward_finetuning.tracking import history

    evaluated = _named_apart([_evaluated(run) for run in runs], runs)
    comparison = compare_runs(evaluated)
    curves = {one.name: training_curves(run, history(run)) for one, run in zip(evaluated, runs, strict=True)}
    page = output or Path("comparison.html")
    page.parent.mkdir(parents=True, exist_ok=True)
    page.write_text(render_runs(evaluated, comparison, curves), encoding="utf-8")
    print_runs(comparison, console)
    return page


def _newest(run: RunDirectory) -> tuple[EvaluatedSamples, EvaluatedSamples]:
    """The images of the pretrained model and of the newest policy that was evaluated."""
    from reward_finetuning.evaluation.reports import newest_report
    from reward_finetuning.storage.artifacts.evaluations import read_evaluation

    if (names := newest_report(run)) is None:
        raise UserError(f"{run.uri} has evaluated no epoch yet; rft run goes on and evaluates at loop.evaluate_every")
    before, after = (read_evaluation(run.store, name) for name in names)
    return before, after


def _evaluated(run: RunDirectory) -> EvaluatedRun:
    from reward_finetuning.report.runs import EvaluatedRun

    before, after = _newest(run)
    return EvaluatedRun(run.config.name, before, after, run.config.reward.weights, run.config.seed)


def _named_apart(evaluated: Sequence[EvaluatedRun], runs: Sequence[RunDirectory]) -> list[EvaluatedRun]:
    """Runs of one name in different roots are called by their folders."""
    names = [one.name for one in evaluated]
    uris = [run.uri for run in runs]
    if len(set(uris)) < len(uris):
        raise UserError(f"rft report compares different runs, got {', '.join(uris)}; give each once")
    return [
        replace(one, name=uri) if names.count(one.name) > 1 else one for one, uri in zip(evaluated, uris, strict=True)
    ]
