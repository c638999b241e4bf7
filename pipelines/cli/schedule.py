"""`rft schedule`: runs that a service starts by itself."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from pipelines.cli.connection import Connection, connected
from pipelines.cli.options import ConfigFile, Override
from reward_finetuning.config import load_config

if TYPE_CHECKING:
    from pipelines.remote.clients import Client, Package, Schedule

schedule = typer.Typer(
    help="Runs that the service starts by itself, one at a time, without catching up on what was missed.",
    no_args_is_help=True,
)

CronText = Annotated[
    str,
    typer.Option("--cron", metavar="CRON", help="Five fields, e.g. '0 3 * * 1': minute hour day month day-of-week."),
]
Timezone = Annotated[
    str | None, typer.Option(metavar="ZONE", help="Of the cron, e.g. Europe/Berlin; kfp: the installation's own only.")
]
Name = Annotated[str, typer.Argument(metavar="NAME", help="The schedule's name.")]
NewName = Annotated[str | None, typer.Option("--name", help="The schedule's name; the run's when not given.")]
Prompts = Annotated[
    str | None, typer.Option(metavar="URI", help="Prompts to train on, instead of prompts.train of the run file.")
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
    """Start a run at each time of a cron.

    Example: `rft schedule create pipelines/runs/prdp-large-scale.yaml --target kfp --cron '0 3 * * 1'`
    """
    from pipelines.remote.cron import check_cron
    from pipelines.remote.schedules import create as create_schedule

    checked = check_cron(cron, timezone)
    with _prepared(config, override, prompts, name, connection) as (client, package, called):
        _print(create_schedule(client, package, called, checked, timezone), "created")


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
    """Put another run or another cron in the place of a schedule; a paused one stays paused.

    Example: `rft schedule replace pipelines/runs/prdp-large-scale.yaml --target kfp --cron '0 4 * * *'`
    """
    from pipelines.remote.cron import check_cron
    from pipelines.remote.schedules import replace as replace_schedule

    checked = check_cron(cron, timezone)
    with _prepared(config, override, prompts, name, connection) as (client, package, called):
        _print(replace_schedule(client, package, called, checked, timezone), "replaced")


@schedule.command("list")
@connected
def list_(*, connection: Connection) -> None:
    """Show all schedules: cron, state, next and last run.

    Example: `rft schedule list --target kfp --host https://kubeflow.example.com/pipeline`
    """
    from pipelines.remote.clients import connect

    found = connect(connection.settings).schedules()
    table = Table("name", "cron", "time zone", "state", "next run", "last run", box=None, padding=(0, 2, 0, 0))
    for one in found:
        state = "active" if one.active else "paused"
        table.add_row(one.name, one.cron, one.timezone, state, _when(one.next_run), _when(one.last_run))
    Console().print(table if found else "no schedules")


@schedule.command()
@connected
def pause(name: Name, *, connection: Connection) -> None:
    """Start no more runs; one that is going on goes on.

    Example: `rft schedule pause prdp-large-scale --target kfp`
    """
    _each(name, connection, "pause", "paused")


@schedule.command()
@connected
def resume(name: Name, *, connection: Connection) -> None:
    """Start runs again; what was missed is not made up for.

    Example: `rft schedule resume prdp-large-scale --target kfp`
    """
    _each(name, connection, "resume", "resumed")


@schedule.command()
@connected
def delete(name: Name, *, connection: Connection) -> None:
    """Remove a schedule; the runs that it started stay.

    Example: `rft schedule delete prdp-large-scale --target kfp`
    """
    _each(name, connection, "delete", "deleted")


@contextmanager
def _prepared(
    config: Path, override: Sequence[str] | None, prompts: str | None, name: str | None, connection: Connection
) -> Iterator[tuple[Client, Package, str]]:
    """A client, what is scheduled, and the schedule's name: everything checked before the service is asked."""
    from pipelines.remote.clients import connect
    from pipelines.remote.schedules import check_name
    from pipelines.remote.submit import dashed, packaged

    run_config = load_config(
        config, [*(override or []), *([f"prompts.train={json.dumps(prompts)}"] if prompts else [])]
    )
    called = check_name(name or dashed(run_config.name))
    with packaged(run_config, connection.target, connection.cluster) as package:
        yield connect(connection.settings), package, called


def _each(name: str, connection: Connection, action: str, done: str) -> None:
    """Act on all schedules of that name."""
    from pipelines.remote.clients import connect
    from pipelines.remote.schedules import find

    client = connect(connection.settings)
    for one in find(client, name):
        getattr(client, action)(one)
    Console().print(f"{name}: {done}", highlight=False)


def _print(created: Schedule, done: str) -> None:
    lines = (
        f"{created.name}: {done}, {created.cron} in {created.timezone}" + ("" if created.active else ", paused"),
        *([f"   next  {_when(created.next_run)}"] if created.next_run else []),
        f"   page  {created.url}",
    )
    for line in lines:
        Console().print(line, highlight=False, markup=False, soft_wrap=True)


def _when(time: datetime | None) -> str:
    return "" if time is None else f"{time:%Y-%m-%d %H:%M %Z}"
