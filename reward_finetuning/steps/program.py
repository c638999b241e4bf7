"""What every step's program shares: its flags, and how an error becomes a line and an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from inspect import signature
from typing import Annotated, Any, ParamSpec, TypeVar

import typer

from reward_finetuning.config.errors import RetryableError, TrainingError, UserError
from reward_finetuning.events import end_with_launcher
from reward_finetuning.failures import leave_failure
from reward_finetuning.steps.attempt import attempt

Config = Annotated[str, typer.Option(help="The RunConfig as JSON text.")]
Inputs = Annotated[str, typer.Option(help="Digests of what the run must find, as rft compile wrote them (JSON text).")]
Plan = Annotated[str, typer.Option(help="The epochs of this pipeline run, as next_epochs returned them (JSON text).")]
Offset = Annotated[int, typer.Option(help="Which epoch of the plan, 0 being the first.")]
Shard = Annotated[str, typer.Option(help="The part of an epoch to draw, as shards returned it (JSON text).")]
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
    """Decorate a step, whose first parameter is `config`.

    Its error is left for the process that waits for it (failures.py), and, in a pipeline run on Kubeflow, for the
    attempts after it (attempt.py). The step also ends when its launcher ends (events.py).
    """
    parameters = signature(function)

    @wraps(function)
    def reporting(*args: P.args, **options: P.kwargs) -> R:
        end_with_launcher()
        arguments = parameters.bind(*args, **options).arguments
        try:
            with attempt(function.__name__, str(arguments["config"]), arguments):
                return function(*args, **options)
        except Exception as error:
            leave_failure(error)
            raise

    return reporting


def run_step(function: Callable[..., Any]) -> None:
    """Run a step from the command line and print what it returns, lists and facts as JSON.

    Exit code 2: the user's mistake, 3: no retry helps, 75: a retry may help, 1: a bug.
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
