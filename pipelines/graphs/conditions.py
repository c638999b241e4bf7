"""Conditions of a graph."""

from __future__ import annotations

from typing import Any

from kfp import dsl

_TRUE = True
"""What kfp compares an output with: `==` is overloaded, so nothing shorter would do."""


def when(output: Any, name: str) -> Any:
    """A branch that is taken where a task's unnamed bool output is true; kfp.local sees no other outputs."""
    return dsl.If(output == _TRUE, name)
