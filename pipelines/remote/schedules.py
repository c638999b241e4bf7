"""Schedules by name: the services have ids, and let several schedules share a name."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.remote.clients import Client, Package, Schedule
from reward_finetuning.pipelines.remote.cron import Cron


def check_name(name: str) -> str:
    """The name itself, if both services take it.

    Raises:
        UserError: they do not.
    """
    if not re.fullmatch(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?", name):
        raise UserError(
            f"--name {name!r}: a schedule's name is 1-63 small letters, digits and hyphens, a letter first, "
            f"and no hyphen last"
        )
    return name


def create(client: Client, package: Package, name: str, cron: Cron, timezone: str | None) -> Schedule:
    """A schedule of a new name.

    Raises:
        UserError: there is one of that name.
    """
    if _of(client.schedules(), name):
        raise UserError(f"there is a schedule {name!r} already; use rft schedule replace, or another --name")
    return client.create_schedule(package, name, cron, timezone)


def replace(client: Client, package: Package, name: str, cron: Cron, timezone: str | None) -> Schedule:
    """The new schedule first, then the old away, so that a crash leaves one too many and never none.

    KFP can change no recurring run. A paused schedule stays paused. Whoever is interrupted repeats the command: all of
    that name that are older are deleted.

    Raises:
        UserError: there is none of that name.
    """
    older = find(client, name)
    new = client.create_schedule(package, name, cron, timezone, active=any(one.active for one in older))
    for one in older:
        client.delete(one)
    return new


def find(client: Client, name: str) -> list[Schedule]:
    """All of that name: one, or more after an interrupted `replace`.

    Raises:
        UserError: there is none; the text lists those that there are.
    """
    known = client.schedules()
    if schedules := _of(known, name):
        return schedules
    names = ", ".join(dict.fromkeys(one.name for one in known)) or "none"
    raise UserError(f"there is no schedule {name!r}; there are: {names}")


def _of(known: Sequence[Schedule], name: str) -> list[Schedule]:
    return [one for one in known if one.name == name]
