"""`rft evaluate`: compare policies, or evaluate the newest policy of a run."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from reward_finetuning.config import EvaluationRun, RunConfig, UserError, load_run_or_evaluation
from reward_finetuning.config.externals import Kind
from reward_finetuning.inputs import absolute_paths
from reward_finetuning.pipelines.cli.options import ConfigFile, Override
from reward_finetuning.pipelines.cli.terminal import make_console
from reward_finetuning.pipelines.local.folder import Attempt, folder_here
from reward_finetuning.pipelines.local.runner import Runner
from reward_finetuning.pipelines.targets.services import TargetName
from reward_finetuning.storage import RunDirectory

if TYPE_CHECKING:
    from rich.console import Console

    from reward_finetuning.evaluation.task import Evaluation


def evaluate(
    config: ConfigFile,
    override: Override = None,
    runner: Annotated[Runner, typer.Option(help="Run tasks as processes, or in containers.")] = Runner.SUBPROCESS,
) -> None:
    """Compare the policies of an evaluation file, or the newest policy of a run with the pretrained model.

    Finished work is not repeated. After a crash, or with more policies, the same command resumes.

    Example: `rft evaluate shapes-evaluation -o evaluation.images_per_prompt=64`
    """
    console = make_console()
    settings = absolute_paths(load_run_or_evaluation(config, override or []), frozenset({Kind.RUNS}))
    if isinstance(settings, EvaluationRun):
        _compare_policies(settings, runner, console)
    else:
        _evaluate_newest(settings, config, runner, console)


def _compare_policies(settings: EvaluationRun, runner: Runner, console: Console) -> None:
    from reward_finetuning.evaluation.candidates import evaluation_directory, subjects_of
    from reward_finetuning.evaluation.side_by_side import comparison_name
    from reward_finetuning.evaluation.task import Evaluation, begin_evaluation, candidates_in

    run = evaluation_directory(settings)
    candidates = candidates_in(begin_evaluation(settings))
    evaluation = Evaluation(run, subjects_of(run, candidates), stands_alone=True)
    name = comparison_name(evaluation)
    if run.store.manifest(name) is None:
        names = ", ".join(candidate.name for candidate in candidates)
        console.print(f"{settings.name}: {names} on {', '.join(run.config.evaluation.prompt_sets)}", highlight=False)
        _run(settings, run, runner, console)
    _show(evaluation, name, console)


def _evaluate_newest(config: RunConfig, path: Path, runner: Runner, console: Console) -> None:
    from reward_finetuning.evaluation.reports import report_name
    from reward_finetuning.pipelines.cli.tables import print_evaluation, print_locations
    from reward_finetuning.pipelines.local.preflight import check_run

    run = check_run(config)
    if run.describe() is None:
        raise UserError(f"{run.uri} contains no run; start one with: rft run {path}")
    latest = run.latest()
    if run.store.manifest(report_name(run, latest.epoch)) is None or not latest.epoch:
        _run(config, run, runner, console)
    print_evaluation(run, console)
    print_locations(run, console)


def _run(config: RunConfig | EvaluationRun, run: RunDirectory, runner: Runner, console: Console) -> None:
    from reward_finetuning.pipelines.graphs.evaluation import standalone
    from reward_finetuning.pipelines.graphs.package import compile_package
    from reward_finetuning.pipelines.local.launch import run_once

    attempt = Attempt.begin(run)
    compile_package(config, TargetName.LOCAL, attempt.package, build=standalone)
    outcome = run_once(attempt, runner, console, {})
    if outcome.exit_code:
        print(f"rft: {outcome.error}; {outcome.advice}", file=sys.stderr)
        raise typer.Exit(outcome.exit_code)


def _show(evaluation: Evaluation, name: str, console: Console) -> None:
    from reward_finetuning.evaluation.reports import PAGE, SUMMARY
    from reward_finetuning.evaluation.side_by_side import evaluated_policies
    from reward_finetuning.pipelines.cli.tables import print_policies
    from reward_finetuning.report.runs import compare_runs

    run = evaluation.run
    print_policies(compare_runs(evaluated_policies(evaluation)), console)
    page = folder_here(run) / PAGE
    page.parent.mkdir(parents=True, exist_ok=True)
    shutil.copyfile(run.store.fetch(name, [PAGE]) / PAGE, page)
    for label, location in {"page": page.as_uri(), "table": f"{run.uri}/{name}/{SUMMARY}"}.items():
        console.print(f"{label:>7}  {location}", highlight=False, soft_wrap=True, markup=False)
