"""Reference of settings, from the JSON Schemas of the pydantic models."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from reward_finetuning.pipelines.cli.files.schema import FileKind, schema_of

_INTRODUCTION = {
    FileKind.RUN: "All settings of a run file. `-o KEY=VALUE` sets one on the command line, for example "
    "`-o training.learning_rate=1e-4`.",
    FileKind.EVALUATION: "All settings of an evaluation file, which `rft evaluate` reads.",
    FileKind.CLUSTER: "All settings of a cluster file: machines, images, storage and environment of a target. The "
    "guide is [cluster](../cluster.md).",
}
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}
_LENGTHS = {"minItems": "at least", "maxItems": "at most"}
Schema = Mapping[str, Any]


def pages() -> dict[str, str]:
    """Path in the site -> reference of a kind of file."""
    return {f"reference/{kind}.md": page(kind) for kind in FileKind}


def page(kind: FileKind) -> str:
    """Every setting of `kind`: key, type and range, default, description; a section a model."""
    schema = schema_of(kind)
    title = f"{kind.value.capitalize()} files"
    parts = [f"# {title}", _INTRODUCTION[kind], _table(schema, schema["$defs"])]
    for name, (path, choice) in _sections(schema).items():
        definition = schema["$defs"][name]
        heading = f"{path}: {choice}" if choice else path
        parts += [f"## `{heading}` {{#{name.lower()}}}", _sentence(definition), _table(definition, schema["$defs"])]
    return "\n\n".join(parts) + "\n"


def _sections(schema: Schema) -> dict[str, tuple[str, str]]:
    """Model -> (key at which it stands first, its name among several), in the order of the file."""
    sections: dict[str, tuple[str, str]] = {}

    def visit(node: Schema, prefix: str) -> None:
        for key, field in node.get("properties", {}).items():
            for name, path in _references(field, f"{prefix}{key}"):
                if name not in sections:
                    definition = schema["$defs"][name]
                    if "properties" in definition:
                        choice = definition["properties"].get("name", {}).get("const", "")
                        sections[name] = (path, choice)
                        visit(definition, f"{path}.")

    visit(schema, "")
    return sections


def _references(field: Schema, path: str) -> Iterator[tuple[str, str]]:
    if "$ref" in field:
        yield field["$ref"].rpartition("/")[2], path
    for choice in (*field.get("anyOf", ()), *field.get("oneOf", ())):
        yield from _references(choice, path)
    for inner, suffix in (("items", "[]"), ("additionalProperties", ".NAME")):
        if isinstance(field.get(inner), Mapping):
            yield from _references(field[inner], path + suffix)


def _table(schema: Schema, definitions: Schema) -> str:
    rows = ["| setting | type and range | default | meaning |", "|---|---|---|---|"]
    required = schema.get("required", ())
    for key, field in schema.get("properties", {}).items():
        default = "*required*" if key in required else _default(field)
        meaning = _sentence(field) or _meaning_of_section(field, definitions)
        rows.append(f"| `{key}` | {_type(field)} | {default} | {meaning} |")
    return "\n".join(rows)


def _meaning_of_section(field: Schema, definitions: Schema) -> str:
    """The sentence of the only section that stands at a key without one."""
    names = [name for name, _ in _references(field, "")]
    return _sentence(definitions[names[0]]) if len(names) == 1 else ""


def _type(field: Schema) -> str:
    """The values that a setting takes, in words."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    choices = field.get("anyOf") or field.get("oneOf")
    if choices:
        return " or ".join(dict.fromkeys(map(_type, choices)))
    if "enum" in field or "const" in field:
        return ", ".join(f"`{value}`" for value in field.get("enum", [field.get("const")]))
    return _named(field) + "".join(_limits(field))


def _named(field: Schema) -> str:
    kind = field.get("type", "any value")
    if kind == "array":
        items = field.get("items") or field.get("prefixItems", [{}])[0]
        return f"list of {_type(items)}"
    if kind == "object":
        values = field.get("additionalProperties")
        return f"mapping to {_type(values)}" if isinstance(values, Mapping) and values else "mapping"
    names = [kind] if isinstance(kind, str) else kind
    return " or ".join("none" if name == "null" else name for name in names)


def _limits(field: Schema) -> Iterator[str]:
    bounds = [f"{sign} {field[key]}" for key, sign in _BOUNDS.items() if key in field]
    if bounds:
        yield f", {', '.join(bounds)}"
    lengths = {word: field[key] for key, word in _LENGTHS.items() if key in field}
    if len(lengths) == 2 and len(set(lengths.values())) == 1:
        yield f", exactly {field['minItems']}"
    else:
        yield from (f", {word} {number}" for word, number in lengths.items())
    if "pattern" in field:
        yield f", matches `{_escaped(field['pattern'])}`"


def _default(field: Schema) -> str:
    if isinstance(field.get("default"), dict) and any(_references(field, "")):
        return "its defaults"
    if "default" not in field:
        return ""
    value = field["default"]
    return "none" if value is None else f"`{_escaped(json.dumps(value, ensure_ascii=False))}`"


def _sentence(field: Schema) -> str:
    return _escaped(" ".join(field.get("description", "").split()))


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")
