"""The `rft` command."""

from __future__ import annotations

import sys
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
from reward_finetuning.inputs import absolute_paths

if TYPE_CHECKING:
    from pipelines.local.launch import Outcome

app = typer.Typer(
    help="Reward finetuning of text-to-image diffusion models as Kubeflow pipelines.",
    epilog="Exit codes: 0 done; 2 the request is wrong; 3 training went wrong, no retry helps; other: run it again.",
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
        Runner, typer.Option(help="How tasks run here: as processes, or in the images of `make images`.")
    ] = Runner.SUBPROCESS,
    gpus: Annotated[
        Gpus, typer.Option(help="docker: what tasks see; auto is all where the engine has any.")
    ] = Gpus.AUTO,
    network: Annotated[
        str | None,
        typer.Option(metavar="MODE", help="docker: the tasks' network; else host if the run needs one, none if not."),
    ] = None,
) -> None:
    """Run a pipeline on this machine, from its compiled package, through kfp.local.

    What is done is never done again: after a crash, or with more epochs, the same command goes on.

    Example: `rft run pipelines/runs/shapes-prdp.yaml -o loop.epochs=50`; in containers: `--runner docker`
    """
    from pipelines.cli.rewards import verify_before_training
    from pipelines.cli.tables import print_evaluation, print_where_to_look
    from pipelines.local.launch import describe, run_until_done
    from pipelines.local.preflight import check_run
    from reward_finetuning.evaluation.reports import is_done

    console = Console()
    containers = ContainerOptions(gpus, network)
    if runner is not Runner.DOCKER and containers != ContainerOptions():
        raise UserError("--gpus and --network are settings of containers: add --runner docker, or leave them out")
    here = _absolute(config, override)
    if here.retraining is not None:
        from pipelines.local.retrain import retrain

        checked, outcome = retrain(here, runner, console, containers)
        _stop_where_it_failed(outcome)
    elif is_done(checked := check_run(here)):
        done = f"{here.name} is done: {here.loop.epochs} epochs are trained and evaluated; nothing was run"
        console.print(done, highlight=False, soft_wrap=True)
    else:
        console.print(describe(here), highlight=False)
        verify_before_training(checked, console)
        _stop_where_it_failed(run_until_done(checked, runner, console, containers))
    print_evaluation(checked, console)
    print_where_to_look(checked, console)


@app.command("compile")
def compile_(
    config: ConfigFile,
    target: Annotated[TargetName, typer.Option(help="Where it will run.")] = TargetName.KFP,
    override: Annotated[
        list[str] | None,
        typer.Option("-o", "--output", metavar="FILE | KEY=VALUE", help="The file to write, or a setting to override."),
    ] = None,
    cluster: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="A cluster file: machines, images, secrets a role (docs/cluster.md)."),
    ] = None,
) -> None:
    """Compile a run's or an evaluation's pipeline to a package that Kubeflow Pipelines or Vertex AI takes.

    Example: `rft compile pipelines/runs/prdp-large-scale.yaml --target vertex --cluster cluster.yaml -o package.yaml`
    """
    from pipelines.graphs.package import compile_package
    from pipelines.targets.cluster import load_cluster

    options = override or []
    files = [option for option in options if "=" not in option]
    if len(files) > 1:
        raise UserError(f"one output file is written, got {', '.join(files)}")
    compiled = load_run_or_evaluation(config, [option for option in options if "=" in option])
    path = Path(files[0]) if files else Path(f"{compiled.name}-{target}.yaml")
    compile_package(compiled, target, path, load_cluster(cluster))
    what = f"{compiled.loop.epochs} epochs" if isinstance(compiled, RunConfig) else f"evaluation {compiled.name}"
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB for {target}, {what}")


@app.command()
def status(config: ConfigFile, override: Override = None) -> None:
    """Show how far a run is: its newest epochs, and its newest evaluation.

    Example: `rft status pipelines/runs/shapes-prdp.yaml`
    """
    from pipelines.cli.tables import print_status, print_where_to_look
    from reward_finetuning.storage import RunDirectory

    here = _absolute(config, override)
    if here.retraining is not None:
        from pipelines.local.retrain import print_series

        print_series(here, Console())
        return
    known = RunDirectory(here)
    if known.describe() is None:
        raise UserError(f"{known.uri} holds no run; begin one with: rft run {config}")
    console = Console()
    print_status(known, console)
    print_where_to_look(known, console)


app.command()(serve_rewards)
app.command()(report)
app.command()(evaluate)
app.command()(export)
app.command()(estimate)
app.command()(submit)
app.add_typer(schedule, name="schedule")


def _stop_where_it_failed(outcome: Outcome) -> None:
    if outcome.exit_code:
        print(f"rft: {outcome.error}; {outcome.advice}", file=sys.stderr)
        raise typer.Exit(outcome.exit_code)


def _absolute(config: Path, override: Sequence[str] | None) -> RunConfig:
    """The config with a run_root that means the same in every task's working directory."""
    return absolute_paths(load_config(config, override or []), frozenset({Kind.RUNS}))


def main() -> None:
    """Entry point; an error becomes one line and an exit code."""
    try:
        app()
    except (UserError, TrainingError, RetryableError) as error:
        print(f"rft: {error}", file=sys.stderr)
        sys.exit(error.exit_code)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] in {"components", "pipelines", "reward_finetuning"}:
            raise
        print(f"rft: this command needs the package {error.name}, which is not installed here", file=sys.stderr)
        sys.exit(UserError.exit_code)
