"""Reference of the command line, from the commands themselves."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path
from typing import Any

from typer import Context

from reward_finetuning.pipelines.cli.group import COMMANDS, imported

_INTRODUCTION = (
    "`rft COMMAND --help` prints the same. Exit codes: 0 success; 1 a bug; 2 invalid request; 3 training failed and a "
    "retry cannot help; other: run the command again. [Terminal](../install.md#terminal) describes what all commands "
    "share."
)

_NAMES = {int: "integer", float: "number", Path: "path", bool: "true or false"}


def page() -> str:
    """Every command: usage, help, arguments and options."""
    parts = ["# Command line", _INTRODUCTION]
    for name in COMMANDS:
        parts += _command(imported(name), f"rft {name}")
    return "\n\n".join(parts) + "\n"


def _command(command: Any, path: str) -> list[str]:
    context = Context(command, info_name=path)
    usage = " ".join([path, *command.collect_usage_pieces(context)])
    parts = [f"## `{path}`", f"```text\n{usage}\n```", _help(command.help or "")]
    parameters = [each for each in command.get_params(context) if "--help" not in each.opts]
    if parameters:
        parts.append(_table(parameters))
    for name, child in getattr(command, "commands", {}).items():
        parts += _command(child, f"{path} {name}")
    return parts


def _help(text: str) -> str:
    r"""Help is Markdown, or text whose lines are paragraphs of their own (`\b`)."""
    return re.sub(r"^\x08$\n?", "", text, flags=re.MULTILINE).strip()


def _table(parameters: list[Any]) -> str:
    rows = ["| argument or option | value | default | meaning |", "|---|---|---|---|"]
    for each in parameters:
        if getattr(each, "hidden", False):
            continue
        name = ", ".join(f"`{option}`" for option in [*each.opts, *each.secondary_opts])
        if each.param_type_name == "argument":
            name = f"`{each.name.upper()}`"
        row = (name, _value(each), _default(each), " ".join((each.help or "").split()))
        rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in row) + " |")
    return "\n".join(rows)


def _value(parameter: Any) -> str:
    if getattr(parameter, "is_flag", False):
        return ""
    kind = parameter.type_descriptor.annotation
    if isinstance(kind, type) and issubclass(kind, Enum):
        return ", ".join(f"`{choice.value}`" for choice in kind)
    bounds = [f"{sign} {bound}" for sign, bound in (("≥", parameter.min), ("≤", parameter.max)) if bound is not None]
    return ", ".join([parameter.metavar or _NAMES.get(kind, "text"), *bounds])


def _default(parameter: Any) -> str:
    if parameter.required:
        return "*required*"
    value = parameter.default
    if value is None or value is False or callable(value) or value in ((), []):
        return ""
    return f"`{getattr(value, 'value', value)}`"
