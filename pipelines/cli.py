"""The `rft` command."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from pipelines.estimate_command import estimate
from pipelines.export_commands import export
from pipelines.local_runner import Runner
from pipelines.options import ConfigFile, Override
from pipelines.placement import TargetName
from pipelines.report_commands import report
from pipelines.reward_commands import register
from pipelines.serve_rewards import serve_rewards
from reward_finetuning.config import RetryableError, RunConfig, TrainingError, UserError, load_config

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
    runner: Annotated[Runner, typer.Option(help="How tasks run here.")] = Runner.SUBPROCESS,
) -> None:
    """Run a pipeline on this machine, from its compiled package, through kfp.local.

    What is done is never done again: after a crash, or with more epochs, the same command goes on.

    Example: `rft run pipelines/runs/shapes-prdp.yaml -o loop.epochs=50`
    """
    from pipelines.launch import describe, is_done, run_until_done
    from pipelines.preflight import check_run
    from pipelines.reward_commands import verify_before_training
    from pipelines.summary import print_evaluation, print_where_to_look

    console = Console()
    here = _absolute(config, override)
    checked = check_run(here)
    if is_done(checked):
        done = f"{here.name} is done: {here.loop.epochs} epochs are trained and evaluated; nothing was run"
        console.print(done, highlight=False, soft_wrap=True)
    else:
        console.print(describe(here), highlight=False)
        verify_before_training(checked, console)
        outcome = run_until_done(checked, runner, console)
        if outcome.exit_code:
            hint = "no retry helps" if outcome.exit_code in {2, 3} else "the same command goes on where this ended"
            print(f"rft: {outcome.error}; {hint}", file=sys.stderr)
            raise typer.Exit(outcome.exit_code)
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
) -> None:
    """Compile a run's pipeline to a package that Kubeflow Pipelines or Vertex AI takes.

    Example: `rft compile pipelines/runs/prdp-large-scale.yaml --target vertex -o package.yaml`
    """
    from pipelines.package import compile_package

    options = override or []
    files = [option for option in options if "=" not in option]
    if len(files) > 1:
        raise UserError(f"one output file is written, got {', '.join(files)}")
    run_config = load_config(config, [option for option in options if "=" in option])
    path = Path(files[0]) if files else Path(f"{run_config.name}-{target}.yaml")
    compile_package(run_config, target, path)
    print(f"{path}: {path.stat().st_size / 1024:.0f} KiB for {target}, {run_config.loop.epochs} epochs")


@app.command()
def status(config: ConfigFile, override: Override = None) -> None:
    """Show how far a run is: its newest epochs, and its newest evaluation.

    Example: `rft status pipelines/runs/shapes-prdp.yaml`
    """
    from pipelines.summary import print_status, print_where_to_look
    from reward_finetuning.storage import RunDirectory

    known = RunDirectory(_absolute(config, override))
    if known.describe() is None:
        raise UserError(f"{known.uri} holds no run; begin one with: rft run {config}")
    console = Console()
    print_status(known, console)
    print_where_to_look(known, console)


app.command()(serve_rewards)
app.command()(report)
app.command()(export)
app.command()(estimate)


def _absolute(config: Path, override: Sequence[str] | None) -> RunConfig:
    """The config with a run_root that means the same in every task's working directory."""
    loaded = load_config(config, override or [])
    return loaded.model_copy(update={"run_root": str(Path(loaded.run_root).absolute())})


def main() -> None:
    """Entry point; an error becomes one line and an exit code."""
    try:
        app()
    except (UserError, TrainingError, RetryableError) as error:
        print(f"rft: {error}", file=sys.stderr)
        sys.exit(error.exit_code)


if __name__ == "__main__":
    main()
