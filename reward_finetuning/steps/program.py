"""What every step's program shares: its flags, and how an error becomes a line and an exit code."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from contextlib import suppress
from functools import wraps
from inspect import signature
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from reward_finetuning.config import RetryableError, RunConfig, TrainingError, UserError, parse_run_or_evaluation
from reward_finetuning.events import end_with_launcher
from reward_finetuning.failures import classified, leave_failure
from reward_finetuning.steps.attempts.attempt import attempt
from reward_finetuning.steps.attempts.watchdog import Watchdog, stall_seconds
from reward_finetuning.storage.recorded_config import recorded_config

Config = Annotated[str, typer.Option(help="The RunConfig as JSON text, or its address, as next_epochs returned it.")]
Inputs = Annotated[str, typer.Option(help="Digests of what the run must find, as rft compile wrote them (JSON text).")]
Plan = Annotated[str, typer.Option(help="The epochs of this pipeline run, as next_epochs returned them (JSON text).")]
Epoch = Annotated[str, typer.Option(help="Number of an epoch, 1 being the first.")]
Offset = Annotated[
    int, typer.Option(help="How many epochs after that; a graph that is unrolled counts from its first.")
]
Shard = Annotated[str, typer.Option(help="Which of loop.num_shards parts of the epoch, 0 being the first.")]
Options = Annotated[str, typer.Option(help="Settings that differ from the config: section.key=value, with spaces.")]
Run = Annotated[str, typer.Option(help="Address of the run directory; not given: that of the config.")]
PolicyFile = Annotated[str, typer.Option(help="File with the reference to a policy.")]
RolloutsFile = Annotated[str, typer.Option(help="File with the reference to rollouts.")]
RewardsFile = Annotated[str, typer.Option(help="File with the reference to rewards.")]
EvaluationShard = Annotated[int, typer.Option(help="Which share of the evaluation to draw, 0 being the first.")]
ReportFile = Annotated[str, typer.Option(help="Where to write the HTML page.")]
MetricsFile = Annotated[str, typer.Option(help="Where to write the numbers as JSON; not written when not given.")]
SummaryFile = Annotated[str, typer.Option(help="Where to write the summary as Markdown; not written when not given.")]


P = ParamSpec("P")
R = TypeVar("R")


def step(function: Callable[P, R]) -> Callable[P, R]:
    """Decorate a step, whose first parameter is `config`: JSON text, or the address of it.

    Its error is left for the process that waits for it (failures.py), and, in a pipeline run on Kubeflow, for the
    attempts after it (attempts/). The run ends FAILED in MLflow. The step ends when its launcher ends (events.py),
    or when it makes no progress (attempts/watchdog.py).
    """
    parameters = signature(function)

    @wraps(function)
    def reporting(*args: P.args, **options: P.kwargs) -> R:
        end_with_launcher()
        call = parameters.bind(*args, **options)
        try:
            with classified():
                call.arguments["config"] = config = recorded_config(str(call.arguments["config"]))
            with Watchdog(stall_seconds(config)), attempt(function.__name__, config, call.arguments), classified():
                return function(*call.args, **call.kwargs)
        except Exception as error:
            leave_failure(error)
            if not call.arguments.get("options"):  # with options it is perhaps another run that failed
                _end_tracking(str(call.arguments["config"]))
            raise

    return reporting


def _end_tracking(config: str) -> None:
    """Mark the config's run FAILED in MLflow; of several processes, the first one does it."""
    from reward_finetuning.storage import RunDirectory
    from reward_finetuning.tracking import MlflowTracker

    if os.environ.get("RANK", "0") != "0":
        return
    with suppress(UserError, RetryableError):  # the error that ended the step is what the user reads
        parsed = parse_run_or_evaluation(config)
        run = RunDirectory(parsed) if isinstance(parsed, RunConfig) else None
        if run is not None and run.describe() is not None:
            run.check()  # a run of other settings in this directory did not fail
            MlflowTracker(run).end("FAILED")


def run_step(function: Callable[..., Any]) -> None:
    """Run a step from the command line and print what it returns, lists and facts as JSON.

    Exit code 2: the user's mistake, 3: a retry cannot help, 75: a retry may help, 1: a bug.
    """

    @wraps(function)
    def program(*args: Any, **options: Any) -> None:
        returned = function(*args, **options)
        if returned is not None:
            print(returned if isinstance(returned, str) else json.dumps(returned))

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(program)
    try:
        app()
    except (UserError, TrainingError, RetryableError) as error:
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
