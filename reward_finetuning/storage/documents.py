"""Small JSON objects as text, the same on disk and in a bucket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from reward_finetuning.config.errors import ArtifactError
from reward_finetuning.server_errors import one_line


def to_text(value: Mapping[str, Any]) -> str:
    """JSON with sorted keys."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


M = TypeVar("M", bound=BaseModel)


def parsed(model: type[M], value: object, where: str) -> M:
    """The content of a stored file as a record.

    Raises:
        ArtifactError: it is something else; the text names the file and the first wrong field.
    """
    try:
        return model.model_validate(value)
    except ValidationError as error:
        raise altered(where, error) from None


def altered(where: str, error: ValidationError) -> ArtifactError:
    """The error of a stored file whose content is not what was written; the text names the first wrong field."""
    first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    field = one_line(".".join(str(part) for part in first["loc"]), 100)
    return ArtifactError(f"{where} was altered, or is of another version ({field}: {one_line(first['msg'], 200)})")


def from_text(text: str | bytes, where: str) -> dict[str, Any]:
    """The JSON object of a text.

    Raises:
        ArtifactError: it is none.
    """
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        raise ArtifactError(f"{where} is no JSON: it was altered or truncated") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{where} must hold a JSON object")
    return value
