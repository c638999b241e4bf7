"""Small JSON objects as text, the same on disk and in a bucket."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
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


@contextmanager
def contents_of(where: object, *errors: type[Exception]) -> Iterator[None]:
    """Read a data file whose checksum is right, and refuse it if it does not hold what this version writes there.

    Args:
        where: the file or folder, for the message.
        errors: further errors of the library that reads it.

    Raises:
        ArtifactError: naming the file and what is wrong.
    """
    try:
        yield
    except ArtifactError:
        raise
    except (*_FOREIGN, *errors) as error:
        reason = one_line(f"{type(error).__name__}: {error}", 200)
        raise ArtifactError(f"{where} does not hold what this version writes there ({reason})") from error


_FOREIGN: tuple[type[Exception], ...] = (
    *(ValueError, KeyError, IndexError, TypeError, AttributeError, OverflowError),
    *(OSError, NotImplementedError, BufferError),
)
"""What readers of columns and tensors raise for a file that is well formed and holds something else."""


def number(document: Mapping[str, Any], key: str, where: str) -> float:
    """The finite number of a key.

    Raises:
        ArtifactError: it is missing, or something else.
    """
    value = document.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ArtifactError(f"{where} was altered: {key} must be a finite number, got {shown(value)}")
    return float(value)


def entry(document: Mapping[str, Any], key: str, kind: type[Value], where: str) -> Value:
    """The value of a key, which has this type.

    Raises:
        ArtifactError: it is missing, or of another type.
    """
    value = document.get(key)
    if not isinstance(value, kind):
        raise ArtifactError(f"{where} was altered: {key} must be a {kind.__name__}, got {shown(value)}")
    return value
