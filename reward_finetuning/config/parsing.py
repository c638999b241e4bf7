"""YAML and JSON from outside, as trees: bounded in size and depth, and refused where a part would be lost."""

from __future__ import annotations

import json
from collections.abc import Hashable
from pathlib import Path
from typing import Any

import yaml

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import UserError

MAX_YAML_BYTES = 256 * 2**10
MAX_DEPTH = 32
"""Of mappings and lists within each other; a run file has 4."""

_LONGEST_NUMBER = 40


def read_yaml(path: Path) -> Any:
    """The tree of a YAML file, which may also be a pipe.

    Raises:
        OSError: it cannot be read.
        UserError: it is too large, or as `parse_yaml`.
    """
    with path.open("rb") as file:
        raw = file.read(MAX_YAML_BYTES + 1)
    if len(raw) > MAX_YAML_BYTES:
        raise UserError(f"{path} has more than {MAX_YAML_BYTES // 2**10} KiB: that is no file of settings")
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise UserError(f"{path} is no readable YAML: byte {error.start} is not UTF-8") from None
    return parse_yaml(text, str(path))


def parse_yaml(text: str, where: str) -> Any:
    """The tree of a YAML text.

    Raises:
        UserError: naming `where` and the line: a key is there twice, an alias (*name) is used, it is nested too deeply,
            or it is no YAML.
    """
    try:
        return yaml.load(text, _Loader)  # noqa: S506 a SafeLoader
    except yaml.YAMLError as error:
        raise UserError(f"{where} is no readable YAML: {' '.join(str(error).split())[:500]}") from None
    except _YAML_DEFECTS as error:
        reason = " ".join(str(error).split())[:200]
        raise UserError(f"{where} is no readable YAML: a value cannot be read ({reason})") from None


def parse_json(text: str | bytes) -> Any:
    """The tree of a JSON text.

    Raises:
        ValueError: it is no JSON, has a key twice, is nested too deeply, or has a number that is too long.
    """
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates, parse_int=_bounded_integer)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


class _Loader(yaml.SafeLoader):
    """A SafeLoader that refuses what would silently be lost or grow without bound."""

    depth = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:
        event = yaml.SafeLoader.peek_event(self)
        line = event.start_mark.line + 1
        if isinstance(event, yaml.AliasEvent):
            raise yaml.YAMLError(f"line {line} uses the alias *{event.anchor}: write the value itself")
        self.depth += 1
        if self.depth > MAX_DEPTH:
            raise yaml.YAMLError(f"line {line} is nested more than {MAX_DEPTH} levels deep")
        node = super().compose_node(parent, index)
        self.depth -= 1
        return node

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:  # noqa: FBT001,FBT002 as the base class has it
        lines: dict[Hashable, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if isinstance(key, Hashable) and key in lines:
                first = lines[key]
                places = f"in lines {first} and {line}" if line != first else f"twice in line {line}"
                raise yaml.YAMLError(f"the key {shown(key)} is given {places}: keep one of them")
            if isinstance(key, Hashable):
                lines[key] = line
        return super().construct_mapping(node, deep)


def _integer(loader: _Loader, node: yaml.ScalarNode) -> int:
    if len(str(node.value)) > _LONGEST_NUMBER:
        line = node.start_mark.line + 1
        raise yaml.YAMLError(
            f"line {line} has a number of {len(node.value)} digits; at most {_LONGEST_NUMBER} are read"
        )
    return int(loader.construct_yaml_int(node))


_Loader.add_constructor("tag:yaml.org,2002:int", _integer)

_YAML_DEFECTS = (ValueError, KeyError, IndexError, AttributeError, TypeError, OverflowError, RecursionError)
"""What PyYAML raises for values that do not fit their tag, such as the date 2026-13-45 or a number of 5000 digits."""


def _bounded_integer(digits: str) -> int:
    if len(digits) > _LONGEST_NUMBER:
        raise ValueError(f"it has a number of {len(digits)} digits; at most {_LONGEST_NUMBER} are read")
    return int(digits)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    tree = dict(pairs)
    if len(tree) < len(pairs):
        keys = [key for key, _ in pairs]
        twice = next(key for key in keys if keys.count(key) > 1)
        raise ValueError(f"the key {shown(twice)} is given twice")
    return tree
