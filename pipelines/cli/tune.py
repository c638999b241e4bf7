"""`rft tune`: choose settings on the user's own model."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from reward_finetuning.pipelines.cli.options import ConfigFile, Override, load_with_absolute_root
from reward_finetuning.pipelines.cli.terminal import make_console
from reward_finetuning.pipelines.local.runner import Runner

if TYPE_CHECKING:
    from reward_finetuning.pipelines.tuning.search import Search, Trial

LONGEST = 16
"""Epochs of a cell by default, if the run file has as many."""


def tune(
    config: ConfigFile,
    override: Override = None,
    *,
    cells: Annotated[int, typer.Option(min=1, max=27, help="Runs; the first has the run file's settings.")] = 12,
    epochs: Annotated[
        int | None, typer.Option(min=1, help=f"Epochs of each run; default: the run file's, at most {LONGEST}.")
    ] = None,
    runner: Annotated[
        Runner, typer.Option(help="Run tasks as processes, or in containers of the images of `make images`.")
    ] = Runner.SUBPROCESS,
    force: Annotated[bool, typer.Option("--force", help="Replace NAME-tuned.yaml, whoever wrote it.")] = False,
) -> None:
    """Choose learning rate, updates per epoch and the method's own setting by short runs.

    The runs lie below the run root in the folder NAME-tune. The same command resumes: a finished run is not repeated.
    Writes to the working directory: NAME-tuned.yaml with the settings of the highest gain on training prompts, and
    NAME-tuned.md with the table of all runs.

    Example: `rft tune shapes-prdp --cells 7 --epochs 8`
    """
    from reward_finetuning.pipelines.cli.rewards import verify_before_training
    from reward_finetuning.pipelines.tuning.search import Search
    from reward_finetuning.pipelines.tuning.tuned import check_target, tuned_path
    from reward_finetuning.storage import RunDirectory

    run_config = load_with_absolute_root(config, override)
    target = tuned_path(config)
    if not force:
        check_target(target)
    search = Search(run_config, num_cells=cells, num_epochs=epochs or min(LONGEST, run_config.loop.epochs))
    search.check()
    console = make_console()
    verify_before_training(RunDirectory(search.run_of(search.grid[0])), console)
    console.print(f"{search.budget}  ({search.root})", highlight=False, soft_wrap=True)
    trials = _trials(search, runner, console)
    _write(target, config, override or [], search, trials)
    _print(trials, console)
    console.print(f"run file  {target}\n   table  {target.with_suffix('.md')}", highlight=False, soft_wrap=True)


def _trials(search: Search, runner: Runner, console: Console) -> list[Trial]:
    from reward_finetuning.pipelines.tuning.search import Trial

    trials: list[Trial] = []
    for trial in search.trials(runner, console):
        if not isinstance(trial, Trial):
            print(f"rft: {trial.error}; {trial.advice}", file=sys.stderr)
            raise typer.Exit(trial.exit_code)
        trials.append(trial)
    return trials


def _write(target: Path, config: Path, override: Sequence[str], search: Search, trials: list[Trial]) -> None:
    from reward_finetuning.config.load import apply_override, read_sections
    from reward_finetuning.pipelines.tuning.search import best_of
    from reward_finetuning.pipelines.tuning.tuned import NOTE, run_file, table
    from reward_finetuning.report.markdown import markdown_page

    tree = read_sections(config, "run file", "pipelines/runs")
    for each in override:
        apply_override(tree, each)
    target.write_text(run_file(tree, best_of(trials), len(trials), search.num_epochs), encoding="utf-8")
    heading, *rows = table(trials)
    target.with_suffix(".md").write_text(markdown_page(search.budget, [NOTE], heading, rows), encoding="utf-8")


def _print(trials: list[Trial], console: Console) -> None:
    from reward_finetuning.pipelines.tuning.tuned import NOTE, table

    heading, *rows = table(trials)
    shown = Table(*heading, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
    console.print(NOTE, highlight=False)
