"""The `rft` command."""

from __future__ import annotations

import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from pipelines.cli.estimate import estimate
from pipelines.cli.evaluate import evaluate
from pipelines.cli.export import export
from pipelines.cli.options import ConfigFile, Override
from pipelines.cli.report import report
from pipelines.cli.rewards import register
from pipelines.cli.schedule import schedule
from pipelines.cli.serve_rewards import serve_rewards
from pipelines.cli.submit import submit
from pipelines.cli.sync import send_rest, sync
from pipelines.local.containers import ContainerOptions, Gpus
from pipelines.local.runner import Runner
from pipelines.targets.services import TargetName
from reward_finetuning.config import (
    RetryableError,
    RunConfig,
    TrainingError,
    UserError,
    load_config,
    load_run_or_evaluation,
)
from reward_finetuning.config.externals import Kind
from reward_finetuning.failures import BUG, classify
from reward_finetuning.inputs import absolute_paths

if TYPE_CHECKING:
    from pipelines.local.launch import Outcome
    from reward_finetuning.storage import RunDirectory

app = typer.Typer(
    help="Finetune text-to-image diffusion models on a reward, as Kubeflow pipelines.",
    epilog="Exit codes: 0 success; 1 a bug; 2 invalid request; 3 training failed and a retry cannot help; "
    "other: run it again.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
register(app)


@app.command()
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

    Example: `rft run pipelines/runs/shapes-prdp.yaml -o loop.epochs=50`; in containers: `--runner docker`
    """
    from pipelines.cli.rewards import verify_before_training
    from pipelines.cli.tables import print_evaluation, print_locations
    from pipelines.local.launch import describe, run_until_done
    from pipelines.local.preflight import check_run
    from reward_finetuning.evaluation.reports import is_done

    console = Console()
    containers = ContainerOptions(gpus, network)
    if runner is not Runner.DOCKER and containers != ContainerOptions():
        raise UserError("--gpus and --network apply only to containers: add --runner docker, or remove them")
    run_config = _with_absolute_root(config, override)
    if run_config.retraining is not None:
        from pipelines.local.retrain import retrain

        directory, outcome = retrain(run_config, runner, console, containers)
        _exit_on_failure(outcome)
    else:
        directory = check_run(run_config)
        if is_done(directory):
            epochs = run_config.loop.epochs
            message = f"{run_config.name} is done: {epochs} epochs are trained and evaluated; nothing was run"
            console.print(message, highlight=False, soft_wrap=True)
        else:
            console.print(describe(run_config), highlight=False)
            verify_before_training(directory, console)
            _exit_on_failure(run_until_done(directory, runner, console, containers))
        _send_rest(directory)
    print_evaluation(directory, console)
    print_locations(directory, console)


@app.command("compile")
def compile_(
    config: ConfigFile,
    target: Annotated[TargetName, typer.Option(help="Service that runs the package.")] = TargetName.KFP,
    override: Annotated[
        list[str] | None,
        typer.Option("-o", "--output", metavar="FILE | KEY=VALUE", help="Output file, or a setting to override."),
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="Cluster file: machines, images and secrets per role (docs/cluster.md)."),
    ] = None,
) -> None:
    """Compile the pipeline of a run or an evaluation to a package for Kubeflow Pipelines or Vertex AI.

    Example: `rft compile pipelines/runs/prdp-large-scale.yaml --target vertex --cluster cluster.yaml -o package.yaml`
    """
    from pipelines.graphs.fit import describe_workflow
    from pipelines.graphs.package import compile_package
    from pipelines.targets.cluster import load_cluster

    options = override or []
    files = [option for option in options if "=" not in option]
    if len(files) > 1:
        raise UserError(f"give one output file, got {', '.join(files)}")
    compiled = load_run_or_evaluation(config, [option for option in options if "=" in option])
    path = Path(files[0]) if files else Path(f"{compiled.name}-{target}.yaml")
    compile_package(compiled, target, path, load_cluster(cluster))
    content = f"{compiled.loop.epochs} epochs" if isinstance(compiled, RunConfig) else f"evaluation {compiled.name}"
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB for {target}, {content}")
    if target is TargetName.KFP and isinstance(compiled, RunConfig):
        print(describe_workflow(path, compiled))


@app.command()
def status(config: ConfigFile, override: Override = None) -> None:
    """Show the progress of a run: its newest epochs and its newest evaluation.

    Example: `rft status pipelines/runs/shapes-prdp.yaml`
    """
    from pipelines.cli.tables import print_locations, print_status
    from reward_finetuning.storage import RunDirectory

    run_config = _with_absolute_root(config, override)
    if run_config.retraining is not None:
        from pipelines.local.retrain import print_series

        print_series(run_config, Console())
        return
    directory = RunDirectory(run_config)
    if directory.describe() is None:
        raise UserError(f"{directory.uri} contains no run; start one with: rft run {config}")
    console = Console()
    print_status(directory, console)
    print_locations(directory, console)


app.command()(serve_rewards)
app.command()(report)
app.command()(evaluate)
app.command()(export)
app.command()(estimate)
app.command()(submit)
app.command()(sync)
app.add_typer(schedule, name="schedule")


def _exit_on_failure(outcome: Outcome) -> None:
    if outcome.exit_code:
        print(f"rft: {outcome.error}; {outcome.advice}", file=sys.stderr)
        raise typer.Exit(outcome.exit_code)


def _with_absolute_root(config: Path, override: Sequence[str] | None) -> RunConfig:
    """The config with an absolute run_root, because tasks have other working directories."""
    return absolute_paths(load_config(config, override or []), frozenset({Kind.RUNS}))


def _send_rest(run: RunDirectory) -> None:
    """Send the journal entries that MLflow does not have. The run is done whether or not MLflow answers."""
    if not run.config.tracking.enabled:
        return
    try:
        send_rest(run)
    except (UserError, RetryableError) as error:
        print(f"rft: warning: {error}; rft sync sends the rest", file=sys.stderr)


def main() -> None:
    """Entry point: print an error as one line and exit with its exit code; a bug also prints its traceback."""
    try:
        app()
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in {"components", "pipelines", "reward_finetuning"}:
            raise
        print(f"rft: this command needs the package {error.name}, which is not installed here", file=sys.stderr)
        sys.exit(UserError.exit_code)
    except Exception as error:  # noqa: BLE001 whatever it is, the user reads what to do
        failure = classify(error)
        if isinstance(failure, UserError | TrainingError | RetryableError):
            print(f"rft: {failure}", file=sys.stderr)
            sys.exit(failure.exit_code)
        traceback.print_exc()
        print(f"rft: {type(error).__name__}: {error}; {BUG}", file=sys.stderr)
        sys.exit(1)
