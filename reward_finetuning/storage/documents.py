"""Small JSON objects as text, the same on disk and in a bucket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import ArtifactError
from reward_finetuning.config.parsing import parse_json
from reward_finetuning.server_errors import one_line

Model = TypeVar("Model", bound=BaseModel)
Value = TypeVar("Value")


def to_text(value: Mapping[str, Any]) -> str:
    """JSON with sorted keys."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def first_problem(error: ValidationError) -> str:
    """The first thing that is wrong with a document: the key, what is expected, and what is there."""
    first = error.errors(include_url=False, include_context=False)[0]
    key = one_line(".".join(str(part) for part in first["loc"]), 100)
    given = "" if first["type"] in {"missing", "json_invalid"} else f", got {shown(first['input'])}"
    return f"{f'{key}: ' if key else ''}{one_line(first['msg'], 200)}{given}"


def from_text(text: str | bytes, where: str) -> dict[str, Any]:
    """The JSON object of a text.

    Raises:
        ArtifactError: it is none.
    """
    try:
        value = parse_json(text)
    except ValueError:
        raise ArtifactError(f"{where} is no JSON: it was altered or truncated") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{where} must hold a JSON object")
    return value


def as_record(model: type[Model], value: object, where: str) -> Model:
    """A document as a checked record.

    Raises:
        ArtifactError: naming the document and the first key that is wrong.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise ArtifactError(f"{where} was altered: {first_problem(error)}") from None


def entry(document: Mapping[str, Any], key: str, kind: type[Value], where: str) -> Value:
    """The value of a key, which has this type.

    Raises:
        ArtifactError: it is missing, or of another type.
    """
    value = document.get(key)
    if not isinstance(value, kind):
        raise ArtifactError(f"{where} was altered: {key} must be a {kind.__name__}, got {shown(value)}")
    return value
