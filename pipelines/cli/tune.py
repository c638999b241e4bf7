"""`rft tune`: choose settings on the user's own model."""

from __future__ import annotations

import sys
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.cli.options import ConfigFile, Override, load_with_absolute_root
from pipelines.cli.terminal import make_console
from pipelines.local.runner import Runner

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
    Writes NAME-tuned.yaml to the working directory, with the settings of the highest gain on training prompts, and the table of all runs.

    Example: `rft tune shapes-prdp --cells 7 --epochs 8`
    """
    from pipelines.tuning.search import Search, Trial, best_of
    from pipelines.tuning.tuned import check_target, run_file, table, tuned_path
    from reward_finetuning.config.load import apply_override, read_sections
    from reward_finetuning.report.summary import markdown_page

    run_config = load_with_absolute_root(config, override)
    target = tuned_path(config)
    if not force:
        check_target(target)
    search = Search(run_config, num_cells=cells, num_epochs=epochs or min(LONGEST, run_config.loop.epochs))
    search.check()
    console = make_console()
    budget = (
        f"{len(search.grid)} runs of {search.num_epochs} epochs of {run_config.num_images} images, seed "
        f"{search.run_of(search.grid[0]).seed}"
    )
    console.print(f"{run_config.name}: {budget}  ({search.root})", highlight=False, soft_wrap=True)
    trials: list[Trial] = []
    for trial in search.trials(runner, console):
        if not isinstance(trial, Trial):
            print(f"rft: {trial.error}; {trial.advice}", file=sys.stderr)
            raise typer.Exit(trial.exit_code)
        trials.append(trial)
    best, (heading, *rows) = best_of(trials), table(trials)
    tree = read_sections(config, "run file", "pipelines/runs")
    for each in override or []:
        apply_override(tree, each)
    target.write_text(run_file(tree, best, len(trials), search.num_epochs), encoding="utf-8")
    note = (
        "The gain of the selected run is the highest of all, so it is biased upwards; another seed gives an honest one."
    )
    page = markdown_page(
        f"{run_config.name}: {budget}", ["Gain in mean reward on training prompts. " + note], heading, rows
    )
    target.with_suffix(".md").write_text(page, encoding="utf-8")
    _print(heading, rows, console)
    console.print(note, highlight=False)
    console.print(f"run file  {target}\n   table  {target.with_suffix('.md')}", highlight=False, soft_wrap=True)


def _print(heading: tuple[str, ...], rows: list[tuple[str, ...]], console: Console) -> None:
    shown = Table(*heading, box=None, padding=(0, 2, 0, 0))
    for row in rows:
        shown.add_row(*row)
    console.print(shown)
