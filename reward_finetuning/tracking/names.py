"""Names of metrics and parameters that MLflow accepts."""

from __future__ import annotations

import re
from collections.abc import Iterable
from hashlib import sha256

_LONGEST = 250
_REFUSED = re.compile(r"[^\w\-. :]")
_PATHS = {"", ".", ".."}  # MLflow refuses names that mean another name if they are read as a path


def mlflow_name(name: str) -> str:
    """The nearest name that MLflow accepts; a name that it accepts stays as it is."""
    parts = (_REFUSED.sub("_", part) for part in name.split("/"))
    accepted = "/".join("_" if part in _PATHS else part for part in parts)
    if len(accepted) > _LONGEST:
        accepted = accepted[:_LONGEST].rstrip("/.") or "_"
    return f"_{accepted[1:]}" if accepted.startswith("..") else accepted


def mlflow_names(names: Iterable[str]) -> dict[str, str]:
    """A name that MLflow accepts for each of these; different names stay different."""
    given = list(dict.fromkeys(names))
    taken = {name for name in given if mlflow_name(name) == name}
    accepted: dict[str, str] = {}
    for name in given:
        nearest = mlflow_name(name)
        if nearest != name and nearest in taken:
            nearest = f"{nearest[: _LONGEST - 9]}_{sha256(name.encode(errors='replace')).hexdigest()[:8]}"
        taken.add(nearest)
        accepted[name] = nearest
    return accepted


def chart_name(name: str) -> str:
    """Name in MLflow of a metric of the journal.

    The UI sorts sections of charts by name: under this name they begin with evaluations and rewards, and not with the
    doctor's measures.
    """
    return f"train/{name}" if name.startswith("doctor/") else name
