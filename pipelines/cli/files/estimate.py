"""`rft estimate`: the cost of a run before it runs."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from reward_finetuning.config import RunConfig, load_config
from reward_finetuning.pipelines.cli.options import ConfigFile, Gpu, Override
from reward_finetuning.pipelines.cli.terminal import make_console


def estimate(
    config: ConfigFile,
    *,
    accelerator: Annotated[Gpu, typer.Option(help="Accelerator of the run.")] = Gpu.A100_80,
    utilisation: Annotated[
        float | None,
        typer.Option(min=0.01, max=1.0, help="Share of the peak performance; the default is printed."),
    ] = None,
    calibrate: Annotated[
        bool,
        typer.Option(
            "--calibrate",
            help="Do two short epochs on this machine, and predict the durations from what they take.",
        ),
    ] = False,
    price: Annotated[float | None, typer.Option(min=0.0, help="Price of a GPU hour, in any currency.")] = None,
    override: Override = None,
) -> None:
    """Estimate the cost of a run: GPU hours and memory per role, disk, and the assumptions.

    Without --calibrate, hours follow from the model's FLOPs and an assumed share of the accelerator's peak.

    Example: `rft estimate prdp-small-scale --accelerator h100`
    """
    from reward_finetuning.pipelines.estimate.cost import estimate as cost_of
    from reward_finetuning.pipelines.estimate.networks import ACCELERATORS

    run = load_config(config, override or [])
    gpu = ACCELERATORS[accelerator.value]
    total = cost_of(run, gpu, utilisation)
    console = make_console()
    table = Table("role", "PFLOP", "GPU hours", "GPU memory, GB", box=None, padding=(0, 2, 0, 0))
    for role, cost in total.roles.items():
        note = "" if cost.memory <= gpu.memory else f"  more than the {gpu.memory:g} GB of {accelerator.value}"
        table.add_row(role, _short(cost.flops / 1e15), _short(cost.hours), f"{cost.memory:.0f}{note}")
    hours, disk = _short(total.hours), _short(total.disk)
    console.print(f"{run.name} on {accelerator.value}: {hours} GPU hours, {disk} GB of disk")
    if price is not None:
        console.print(f"at {price:g} an hour: {_short(total.hours * price)}")
    console.print(table)
    for assumption in total.assumptions:
        console.print(f"- {assumption}", highlight=False, soft_wrap=True)
    if total.roles["train"].memory > gpu.memory:
        advice = "training does not fit: lower training.cells_per_batch, which changes only memory and rounding"
        console.print(advice, soft_wrap=True)
    if calibrate:
        _print_durations(run, console)


def _print_durations(run: RunConfig, console: Console) -> None:
    from reward_finetuning.pipelines.estimate.rates import durations
    from reward_finetuning.pipelines.local.calibration import calibrate

    seconds = durations(run, calibrate(run, console))
    table = Table("role", "seconds", box=None, padding=(0, 2, 0, 0))
    for role, value in seconds.items():
        table.add_row(role, _short(value))
    total = sum(seconds.values())
    console.print(f"{run.name} on this machine, as two short epochs took: {_short(total / 3600)} hours")
    console.print(table)


def _short(value: float) -> str:
    """A number without digits that no estimate has: two of a small number."""
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
