"""What the components of an image import: derived from pipelines/targets/roles.py, so that no list can be forgotten."""

from __future__ import annotations

import ast
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from reward_finetuning.pipelines.targets.images import components_of


def import_all(image: str) -> list[str]:
    """Import every component that runs in `image`, and what its body imports; returns their names.

    Raises:
        ImportError: the environment lacks something that a component needs.
    """
    names = components_of(image)
    for name in names:
        for module in [f"reward_finetuning.components.{name}", *imported_by_body(name)]:
            import_module(module)
    return names


def imported_by_body(component: str) -> list[str]:
    """Modules that a component imports when it runs."""
    spec = find_spec(f"reward_finetuning.components.{component}")
    assert spec is not None
    assert spec.origin is not None
    functions = [node for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body if _is_function(node)]
    imports = (node for function in functions for node in ast.walk(function))
    return [node.module for node in imports if isinstance(node, ast.ImportFrom) and node.module is not None]


def _is_function(node: ast.AST) -> bool:
    return isinstance(node, ast.FunctionDef)
