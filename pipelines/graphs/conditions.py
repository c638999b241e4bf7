"""Conditions of a graph."""

from __future__ import annotations

from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

_TRUE = True
"""What kfp compares an output with: `==` is overloaded, so nothing shorter would do."""


def when(task: PipelineTask, name: str) -> Any:
    """A branch that is taken where the bool output of `task` is true; a gate of one output, as kfp.local needs it."""
    return dsl.If(task.output == _TRUE, name)
