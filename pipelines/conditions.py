"""Conditions of a graph."""

from __future__ import annotations

from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask


def when(task: PipelineTask, name: str) -> Any:
    """A branch that is taken where the bool output of `task` is true; a gate of one output, as kfp.local needs it."""
    return dsl.If(task.output == True, name)  # noqa: E712 a comparison that kfp overloads, not one of Python
