"""Options that several commands share."""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from reward_finetuning.config import RunConfig, load_config
from reward_finetuning.config.externals import Kind
from reward_finetuning.inputs import absolute_paths
from reward_finetuning.pipelines.cli.run_files import complete, run_file

ConfigFile = Annotated[
    Path,
    typer.Argument(
        metavar="CONFIG",
        callback=run_file,
        autocompletion=complete,
        help="Run file, or the name of one of the package (rft runs), e.g. shapes-prdp.",
    ),
]
Override = Annotated[
    list[str] | None,
    typer.Option(
        "-o", "--override", metavar="KEY=VALUE", help="Override a setting, e.g. -o loop.epochs=50; repeatable."
    ),
]


class Gpu(StrEnum):
    """GPUs of `rft estimate` and `rft init`: the keys of ACCELERATORS."""

    T4 = "t4"
    L4 = "l4"
    RTX_4090 = "rtx4090"
    A100_40 = "a100-40gb"
    A100_80 = "a100-80gb"
    H100 = "h100"
    H200 = "h200"


def load_with_absolute_root(config: Path, override: Sequence[str] | None) -> RunConfig:
    """The config with an absolute run_root, because tasks have other working directories."""
    return absolute_paths(load_config(config, override or []), frozenset({Kind.RUNS}))
