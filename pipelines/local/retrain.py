"""`rft run` of a run file with a retraining section: one retraining, for the current prompts."""

from __future__ import annotations

import datetime
from contextlib import suppress
from pathlib import PurePosixPath

from rich.console import Console
from rich.table import Table

from reward_finetuning.config import RetryableError, RunConfig, UserError
from reward_finetuning.pipelines.local.containers import ContainerOptions
from reward_finetuning.pipelines.local.folder import Attempt
from reward_finetuning.pipelines.local.launch import Outcome, compile_here, mark_killed, run_once
from reward_finetuning.pipelines.local.preflight import check_run
from reward_finetuning.pipelines.local.runner import Runner
from reward_finetuning.prompts.pointer import follow
from reward_finetuning.storage import RunDirectory, open_store
from reward_finetuning.storage.documents import as_record
from reward_finetuning.tracking.journal import Journal


def retrain(
    config: RunConfig, runner: Runner, console: Console, containers: ContainerOptions
) -> tuple[RunDirectory, Outcome]:
    """Run the retraining pipeline once; the same prompts and settings continue the run that they began.

    Returns:
        The retraining's own run, and how the pipeline ended.
    """
    from reward_finetuning.steps.begin_retraining import find_or_begin

    check_run(with_prompts_of_today(config))
    series = RunDirectory(config)
    attempt = Attempt.begin(series)
    arguments = compile_here(series, attempt, runner, console, containers)
    outcome = run_once(attempt, runner, console, arguments)
    if outcome.exit_code:
        with suppress(UserError, RetryableError):  # the user is to read why the retraining failed
            mark_killed(RunDirectory(find_or_begin(config).config(config)), outcome)
        return series, outcome
    return RunDirectory(find_or_begin(config).config(config)), outcome


def with_prompts_of_today(config: RunConfig) -> RunConfig:
    """The config as an ordinary run on the prompts that prompts.train leads to now."""
    train = follow(config.prompts.train, datetime.datetime.now(datetime.UTC).date())
    prompts = config.prompts.model_copy(update={"train": train})
    return config.model_copy(update={"prompts": prompts, "retraining": None})


def print_series(config: RunConfig, console: Console) -> None:
    """Every retraining of the series: its prompts, first policy, newest epoch, and whether it was promoted.

    Raises:
        UserError: there is none.
    """
    from reward_finetuning.steps.begin_retraining import Retraining

    series = open_store(f"{config.run_root}/{config.name}")
    names = series.names("retrainings")
    retrainings = [
        as_record(Retraining, series.read_json(f"retrainings/{name}"), f"{series.uri}/retrainings/{name}")
        for name in names
    ]
    if not retrainings:
        raise UserError(f"{series.uri} holds no retraining; begin one with: rft run")
    table = Table("begun", "prompts", "from", "epoch", "outcome", box=None, padding=(0, 2, 0, 0))
    for retraining in sorted(retrainings, key=lambda each: each.begun):
        run = RunDirectory(retraining.config(config))
        epochs = f"{run.latest().epoch} of {run.config.loop.epochs}"
        prompts = f"{retraining.num_prompts} of {PurePosixPath(retraining.source).name}"
        table.add_row(retraining.begun, prompts, retraining.start, epochs, _outcome(run))
    console.print(table)


def _outcome(run: RunDirectory) -> str:
    """The decision of the promotion, with its reason."""
    references = [item for entry in Journal(run).entries() for item in entry["references"].items()]
    decisions = [facts for file, facts in references if file.startswith("promotions/")]
    if not decisions:
        return "not decided yet"
    facts = decisions[-1]
    return f"{'promoted' if facts['promoted'] == 'True' else 'refused'}: {facts['reason']}"
