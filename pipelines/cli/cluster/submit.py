"""`rft submit`: submit a run to Kubeflow Pipelines or Vertex AI."""

from __future__ import annotations

import shlex
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from reward_finetuning.config import RunConfig, UserError, load_config
from reward_finetuning.pipelines.cli.cluster.connection import Connection, connected
from reward_finetuning.pipelines.cli.options import ConfigFile, Override
from reward_finetuning.pipelines.cli.terminal import make_console

if TYPE_CHECKING:
    from rich.console import Console

    from reward_finetuning.pipelines.remote.clients import Client, Package


@connected
def submit(
    config: ConfigFile,
    override: Override = None,
    *,
    connection: Connection,
    follow: Annotated[bool, typer.Option("--follow", help="Wait, and submit again until all epochs are done.")] = False,
    retries: Annotated[
        int, typer.Option(min=0, help="--follow: consecutive pipeline runs without a new epoch that are retried.")
    ] = 1,
    poll: Annotated[
        float, typer.Option(min=0.05, metavar="SECONDS", help="--follow: time between two requests.")
    ] = 30.0,
) -> None:
    """Submit a run to Kubeflow Pipelines or Vertex AI.

    If a pipeline run of this run is unfinished, the command prints it and submits nothing. The token for Kubeflow is
    read from the environment variable KFP_TOKEN, or from the variable in kfp.token_variable of the cluster file.

    Example: `rft submit prdp-large-scale --target kfp --cluster cluster.yaml --follow`
    """
    from reward_finetuning.pipelines.remote.clients import connect
    from reward_finetuning.pipelines.remote.preflight import check_readable
    from reward_finetuning.pipelines.remote.submit import packaged

    run_config = load_config(config, override or [])
    if follow and run_config.retraining is not None:
        raise UserError("a retraining is one pipeline run: remove --follow; rft status shows its result")
    with packaged(run_config, connection.target, connection.cluster) as package:
        client = connect(connection.settings)
        console = make_console()
        if follow:
            check_readable(run_config, connection.cluster)
            _follow(client, run_config, package, console, retries=retries, poll=poll)
        else:
            _submit(client, run_config, package, console)


def _submit(client: Client, config: RunConfig, package: Package, console: Console) -> None:
    from reward_finetuning.pipelines.remote.submit import run_prefix, submit_next, unfinished
    from reward_finetuning.storage import RunDirectory

    prefix = run_prefix(config)
    running = unfinished(client, prefix, RunDirectory(config))
    remote = running or submit_next(client, package, prefix)
    state = "already running, nothing was submitted" if running else "submitted"
    lines = [f"{remote.name}: {state}", f"    run  {remote.id}", f"   page  {remote.url}"]
    if config.retraining is None:
        lines.append(f" follow  {shlex.join(['rft', *sys.argv[1:], '--follow'])}")
    for line in lines:
        console.print(line, highlight=False, markup=False, soft_wrap=True)


def _follow(
    client: Client, config: RunConfig, package: Package, console: Console, *, retries: int, poll: float
) -> None:
    from reward_finetuning.pipelines.remote.follow import Follow
    from reward_finetuning.storage import RunDirectory

    run = RunDirectory(config)
    run.check()
    try:
        Follow(client, run, package, console, retries, poll).to_the_end()
    except KeyboardInterrupt:
        print("rft: interrupted; the pipeline run continues. Run the same command to follow it again", file=sys.stderr)
        raise typer.Exit(130) from None
    message = f"{config.name} is done: {config.loop.epochs} epochs are trained and evaluated ({run.uri})"
    console.print(message, highlight=False, soft_wrap=True)
