"""Small JSON objects as text, the same on disk and in a bucket."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from reward_finetuning.config.errors import ArtifactError


def to_text(value: Mapping[str, Any]) -> str:
    """JSON with sorted keys."""
    return json.dumps(value, indent=1, sort_keys=True) + "\n"


def from_text(text: str | bytes, where: str) -> dict[str, Any]:
    """The JSON object of a text.

    Raises:
        ArtifactError: it is none.
    """
    try:
        value = json.loads(text)
    except ValueError:
        raise ArtifactError(f"{where} is no JSON: it was altered or truncated") from None
    if not isinstance(value, dict):
        raise ArtifactError(f"{where} must hold a JSON object")
    return value
