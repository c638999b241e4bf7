"""Texts of a cluster file with a fixed form: amounts as Kubernetes writes them, names of variables."""

from __future__ import annotations

import re
from typing import Annotated

from pydantic import AfterValidator, Field, WithJsonSchema


def written(pattern: str, example: str) -> AfterValidator:
    """A text that matches the pattern from end to end; `example` goes into the error."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"is written like {example}")
        return text

    return AfterValidator(check)


Text = Annotated[str, Field(min_length=1)]
Cores = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    written(r"\d+(\.\d+)?|\d+m", "8, 0.5 or 500m"),
    WithJsonSchema({"type": ["string", "number"]}),
]
Bytes = Annotated[str, written(r"[1-9]\d*(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)", "16G or 16Gi")]
Duration = Annotated[str, written(r"[1-9]\d*[smhd]", "90m, 6h or 2d")]
Accelerator = Annotated[str, written(r"[a-z0-9]+(-[a-z0-9]+)+", "nvidia-l4, as GKE names it")]
Variable = Annotated[str, written(r"[A-Za-z_][A-Za-z0-9_]*", "MLFLOW_TRACKING_URI")]
