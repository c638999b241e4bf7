"""Options that several commands share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

ConfigFile = Annotated[Path, typer.Argument(metavar="CONFIG", help="Run file, e.g. pipelines/runs/shapes-prdp.yaml.")]
Override = Annotated[
    list[str] | None,
    typer.Option(
        "-o", "--override", metavar="KEY=VALUE", help="Override a setting, e.g. -o loop.epochs=50; repeatable."
    ),
]
