"""`rft schedule`: runs that a service starts at fixed times."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table

from reward_finetuning.config import load_config
from reward_finetuning.pipelines.cli.cluster.connection import Connection, connected
from reward_finetuning.pipelines.cli.group import MARKUP
from reward_finetuning.pipelines.cli.options import ConfigFile, Override
from reward_finetuning.pipelines.cli.terminal import make_console

if TYPE_CHECKING:
    from reward_finetuning.pipelines.remote.clients import Client, Package, Schedule

schedule = typer.Typer(
    rich_markup_mode=MARKUP,
    help="Schedule runs at fixed times. One run is active at a time; missed starts are not repeated.",
    no_args_is_help=True,
)

CronText = Annotated[
    str,
    typer.Option("--cron", metavar="CRON", help="Five fields: minute hour day month day-of-week, e.g. '0 3 * * 1'."),
]
Timezone = Annotated[
    str | None,
    typer.Option(metavar="ZONE", help="Time zone of the cron, e.g. Europe/Berlin; kfp: only that of the installation."),
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="Name of the schedule.")]
NewName = Annotated[str | None, typer.Option("--name", help="Name of the schedule; default: the name of the run.")]
Prompts = Annotated[
    str | None, typer.Option(metavar="URI", help="Training prompts; replaces prompts.train of the run file.")
]


@schedule.command()
@connected
def create(
    config: ConfigFile,
    cron: CronText,
    override: Override = None,
    *,
    timezone: Timezone = None,
    name: NewName = None,
    prompts: Prompts = None,
    connection: Connection,
) -> None:
    """Create a schedule that starts a run at each time of a cron.

    Example: `rft schedule create prdp-large-scale --target kfp --cron '0 3 * * 1'`
    """
    from reward_finetuning.pipelines.remote.cron import check_cron
    from reward_finetuning.pipelines.remote.schedules import create as create_schedule

    fields = check_cron(cron, timezone)
    with _package_to_schedule(config, override, prompts, name, connection) as (client, package, schedule_name):
        _print(create_schedule(client, package, schedule_name, fields, timezone), "created")


@schedule.command()
@connected
def replace(
    config: ConfigFile,
    cron: CronText,
    override: Override = None,
    *,
    timezone: Timezone = None,
    name: NewName = None,
    prompts: Prompts = None,
    connection: Connection,
) -> None:
    """Replace the run or the cron of a schedule. A paused schedule stays paused.

    Example: `rft schedule replace prdp-large-scale --target kfp --cron '0 4 * * *'`
    """
    from reward_finetuning.pipelines.remote.cron import check_cron
    from reward_finetuning.pipelines.remote.schedules import replace as replace_schedule

    fields = check_cron(cron, timezone)
    with _package_to_schedule(config, override, prompts, name, connection) as (client, package, schedule_name):
        _print(replace_schedule(client, package, schedule_name, fields, timezone), "replaced")


@schedule.command("list")
@connected
def list_(*, connection: Connection) -> None:
    """List all schedules with cron, state, next run and last run.

    Example: `rft schedule list --target kfp --host https://kubeflow.example.com/pipeline`
    """
    from reward_finetuning.pipelines.remote.clients import connect

    schedules = connect(connection.settings).schedules()
    table = Table("name", "cron", "time zone", "state", "next run", "last run", box=None, padding=(0, 2, 0, 0))
    for item in schedules:
        state = "active" if item.active else "paused"
        table.add_row(item.name, item.cron, item.timezone, state, _minute(item.next_run), _minute(item.last_run))
    make_console().print(table if schedules else "no schedules")


@schedule.command()
@connected
def pause(name: Name, *, connection: Connection) -> None:
    """Pause a schedule. An active run continues.

    Example: `rft schedule pause prdp-large-scale --target kfp`
    """
    _apply(name, connection, "pause", "paused")


@schedule.command()
@connected
def resume(name: Name, *, connection: Connection) -> None:
    """Resume a schedule. Missed starts are not repeated.

    Example: `rft schedule resume prdp-large-scale --target kfp`
    """
    _apply(name, connection, "resume", "resumed")


@schedule.command()
@connected
def delete(name: Name, *, connection: Connection) -> None:
    """Delete a schedule. Its runs are not deleted.

    Example: `rft schedule delete prdp-large-scale --target kfp`
    """
    _apply(name, connection, "delete", "deleted")


@contextmanager
def _package_to_schedule(
    config: Path, override: Sequence[str] | None, prompts: str | None, name: str | None, connection: Connection
) -> Iterator[tuple[Client, Package, str]]:
    """The client, the package, and the name of the schedule. All checks are made before the first request."""
    from reward_finetuning.pipelines.remote.clients import connect
    from reward_finetuning.pipelines.remote.schedules import check_name
    from reward_finetuning.pipelines.remote.submit import dashed, packaged

    run_config = load_config(
        config, [*(override or []), *([f"prompts.train={json.dumps(prompts)}"] if prompts else [])]
    )
    schedule_name = check_name(name or dashed(run_config.name))
    with packaged(run_config, connection.target, connection.cluster) as package:
        yield connect(connection.settings), package, schedule_name


def _apply(name: str, connection: Connection, action: str, result: str) -> None:
    """Call `action` of the client for all schedules with this name."""
    from reward_finetuning.pipelines.remote.clients import connect
    from reward_finetuning.pipelines.remote.schedules import find

    client = connect(connection.settings)
    for item in find(client, name):
        getattr(client, action)(item)
    make_console().print(f"{name}: {result}", highlight=False)


def _print(item: Schedule, action: str) -> None:
    lines = (
        f"{item.name}: {action}, {item.cron} in {item.timezone}" + ("" if item.active else ", paused"),
        *([f"   next  {_minute(item.next_run)}"] if item.next_run else []),
        f"   page  {item.url}",
    )
    for line in lines:
        make_console().print(line, highlight=False, markup=False, soft_wrap=True)


def _minute(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M %Z}"
