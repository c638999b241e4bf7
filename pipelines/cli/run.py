"""`rft run`: run a pipeline on this machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Annotated

import typer

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.cli.options import ConfigFile, Override, load_with_absolute_root
from reward_finetuning.pipelines.cli.sync import send_if_done
from reward_finetuning.pipelines.cli.terminal import make_console
from reward_finetuning.pipelines.local.containers import ContainerOptions, Gpus
from reward_finetuning.pipelines.local.runner import Runner

if TYPE_CHECKING:
    from reward_finetuning.pipelines.local.launch import Outcome


def run(
    config: ConfigFile,
    override: Override = None,
    runner: Annotated[
        Runner, typer.Option(help="Run tasks as processes, or in containers of the images of `make images`.")
    ] = Runner.SUBPROCESS,
    gpus: Annotated[
        Gpus, typer.Option(help="docker: GPUs of the tasks; auto selects all GPUs of the engine.")
    ] = Gpus.AUTO,
    network: Annotated[
        str | None,
        typer.Option(
            metavar="MODE", help="docker: network of the tasks; default: host if the run needs one, else none."
        ),
    ] = None,
) -> None:
    """Run a pipeline on this machine: compile it, and run the package with kfp.local.

    Finished work is not repeated. After a crash, or with more epochs, the same command resumes the run.

    Example: `rft run shapes-prdp -o loop.epochs=50`; in containers: `--runner docker`
    """
    from reward_finetuning.evaluation.reports import is_done
    from reward_finetuning.pipelines.cli.rewards import verify_before_training
    from reward_finetuning.pipelines.cli.tables import print_evaluation, print_locations
    from reward_finetuning.pipelines.local.launch import describe, run_until_done
    from reward_finetuning.pipelines.local.preflight import check_run

    console = make_console()
    containers = ContainerOptions(gpus, network)
    if runner is not Runner.DOCKER and containers != ContainerOptions():
        raise UserError("--gpus and --network apply only to containers: add --runner docker, or remove them")
    run_config = load_with_absolute_root(config, override)
    if run_config.retraining is not None:
        from reward_finetuning.pipelines.local.retrain import retrain

        directory, outcome = retrain(run_config, runner, console, containers)
        _exit_on_failure(outcome)
    else:
        directory = check_run(run_config, replace_abandoned=True)
        if is_done(directory):
            epochs = run_config.loop.epochs
            message = f"{run_config.name} is done: {epochs} epochs are trained and evaluated; nothing was run"
            console.print(message, highlight=False, soft_wrap=True)
        else:
            console.print(describe(run_config), highlight=False)
            verify_before_training(directory, console)
            _exit_on_failure(run_until_done(directory, runner, console, containers))
        send_if_done(directory, register=True)
    print_evaluation(directory, console)
    print_locations(directory, console)


def _exit_on_failure(outcome: Outcome) -> None:
    if outcome.exit_code:
        print(f"rft: {outcome.error}; {outcome.advice}", file=sys.stderr)
        raise typer.Exit(outcome.exit_code)
