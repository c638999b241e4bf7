"""`rft schema`: the JSON Schema of run, evaluation and cluster files, for editors."""

from __future__ import annotations

import json
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import BaseModel

from reward_finetuning.config import EvaluationRun, RunConfig
from reward_finetuning.pipelines.targets.cluster import Cluster


class FileKind(StrEnum):
    """Kinds of files that have a schema."""

    RUN = "run"
    EVALUATION = "evaluation"
    CLUSTER = "cluster"


_MODELS: dict[FileKind, type[BaseModel]] = {
    FileKind.RUN: RunConfig,
    FileKind.EVALUATION: EvaluationRun,
    FileKind.CLUSTER: Cluster,
}


def schema(
    kind: Annotated[FileKind, typer.Argument(help="Kind of file.")],
    output: Annotated[Path | None, typer.Option(metavar="FILE", help="Output file; default: stdout.")] = None,
) -> None:
    """Print the JSON Schema of a kind of file, with which editors complete and check it.

    An editor with the YAML language server reads it if the first line of a file is
    `# yaml-language-server: $schema=run.schema.json`, with the path of the schema.

    Example: `rft schema run --output run.schema.json`
    """
    text = json.dumps(schema_of(kind), indent=1, ensure_ascii=False) + "\n"
    if output is None:
        print(text, end="")
    else:
        output.write_text(text, encoding="utf-8")


def schema_of(kind: FileKind) -> dict[str, Any]:
    """The schema, draft 2020-12. Rules between fields are not in it; `rft` checks them when it reads a file."""
    schema = _MODELS[kind].model_json_schema()
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **schema, "title": f"rft {kind} file"}
