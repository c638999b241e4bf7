"""What every step's program shares: its flags, and how an error becomes a line and an exit code."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from functools import wraps
from typing import Annotated, Any

import typer

from reward_finetuning.config.errors import RetryableError, TrainingError, UserError
from reward_finetuning.failures import leave_failure

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


def run_step(step: Callable[..., Any]) -> None:
    """Run a step from the command line and print what it returns, lists and facts as JSON.

    Exit code 2: the user's mistake, 3: no retry helps, 75: a retry may help.
    """

    @wraps(step)
    def program(*args: Any, **options: Any) -> None:
        returned = step(*args, **options)
        if returned is not None:
            print(returned if isinstance(returned, str) else json.dumps(returned))

    app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)
    app.command()(program)
    try:
        app()
    except (UserError, TrainingError, RetryableError) as error:
        leave_failure(error)
        print(f"{type(error).__name__}: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except Exception as error:
        leave_failure(error)
        raise
