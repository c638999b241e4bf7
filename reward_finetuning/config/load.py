"""From a YAML file, `-o key=value` and JSON text to a checked RunConfig."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches
from pathlib import Path
from types import NoneType
from typing import Any, TypeVar, get_args, get_origin

from pydantic import BaseModel, ValidationError

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import UserError
from reward_finetuning.config.parsing import parse_json, parse_yaml, read_yaml
from reward_finetuning.config.run import RunConfig

Model = TypeVar("Model", bound=BaseModel)

_MOST_PROBLEMS = 10


def load_config(path: str | Path, overrides: Sequence[str] = ()) -> RunConfig:
    """Read a run file; `overrides` are `section.key=value`, the value in YAML.

    Raises:
        UserError: the file, a key or a value is wrong; the text names each.
    """
    path = Path(path)
    tree = read_sections(path, "run file", "pipelines/runs")
    if "policies" in tree:
        raise UserError(f"{path} is an evaluation of policies, not a run: rft evaluate {path}")
    for override in overrides:
        apply_override(tree, override)
    return validated(RunConfig, tree, str(path))


def parse_config(text: str) -> RunConfig:
    """RunConfig from the JSON text that travels between tasks."""
    try:
        tree = parse_json(text)
    except ValueError as error:
        raise UserError(f"config must be JSON text: {error}") from None
    return validated(RunConfig, tree, "config")


def read_sections(path: Path, what: str, examples: str) -> dict[str, Any]:
    """The mapping of sections in a YAML file; `what` (kind of file) and `examples` (a folder) go into the error."""
    try:
        tree = read_yaml(path)
    except FileNotFoundError:
        raise UserError(f"no {what} {path}; see {examples} for examples") from None
    except OSError as error:
        raise UserError(f"{path} is no readable YAML: {error.strerror}") from None
    if not isinstance(tree, dict):
        raise UserError(f"{path} must hold a mapping of sections, got {type(tree).__name__}")
    return tree


def validated(model: type[Model], tree: object, where: str) -> Model:
    """`tree` as a checked `model`.

    Raises:
        UserError: naming the file or text (`where`), each wrong key, the value given and what would be right.
    """
    try:
        return model.model_validate(tree)
    except ValidationError as error:
        problems = error.errors(include_url=False)
        lines = list(dict.fromkeys(_explain(model, dict(problem)) for problem in problems[:_MOST_PROBLEMS]))
        if (more := len(problems) - _MOST_PROBLEMS) > 0:
            lines.append(f"and {more} more")
        raise UserError(f"{where}: " + "; ".join(lines)) from None


def apply_override(tree: dict[str, Any], override: str) -> None:
    """Put the value of `section.key=value` into the tree.

    Raises:
        UserError: it has another form, or its key leads into a value.
    """
    key, separator, value = override.partition("=")
    if not separator or not key:
        raise UserError(f"an override is written section.key=value, got {shown(override)}")
    *sections, leaf = key.split(".")
    for section in sections:
        tree = tree.setdefault(section, {})
        if not isinstance(tree, dict):
            raise UserError(f"override {shown(override)}: {shown(section)} holds a value, not a section")
    tree[leaf] = parse_yaml(value, f"override {shown(override)}: the value")


def _explain(model: type[BaseModel], problem: dict[str, Any]) -> str:
    path = [str(part) for part in problem["loc"]]
    if path[:1] == ["objective"] and path[1:2] and path[1] in _OBJECTIVES:
        del path[1]  # pydantic inserts the name of the objective
    key = ".".join(path)
    if problem["type"] == "extra_forbidden":
        names = _fields(model, path[:-1], problem["loc"])
        near = get_close_matches(path[-1], names, n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"known: {', '.join(names)}"
        return f"unknown key {shown(key)}; {hint}"
    if problem["type"] == "union_tag_invalid":
        return f"{key}.name: choose from {', '.join(_OBJECTIVES)}, got {shown(problem['ctx']['tag'])}"
    message = str(problem["msg"]).removeprefix("Value error, ")
    if not key:
        return message
    given = "" if problem["type"] == "missing" else f", got {shown(problem['input'])}"
    return f"{key}: {message[0].lower()}{message[1:]}{given}"


def _fields(annotation: Any, path: Sequence[str], loc: Sequence[object]) -> list[str]:
    """Names of the fields of the section that `path` leads to; `loc` says which objective it is."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        fields = annotation.model_fields
        return _fields(fields[path[0]].annotation, path[1:], loc) if path else list(fields)
    inner = [part for part in get_args(annotation) if part not in {NoneType, Ellipsis}]
    if get_origin(annotation) in {dict, tuple}:  # the next part of the path is a key or an index
        return _fields(inner[-1], path[1:], loc)
    return _fields(inner[0] if len(inner) == 1 else _OBJECTIVES[str(loc[1])], path, loc)


_OBJECTIVES: dict[str, type[BaseModel]] = {
    member.model_fields["name"].default: member for member in get_args(RunConfig.model_fields["objective"].annotation)
}
