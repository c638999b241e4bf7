"""Strategies of Hypothesis for nearly valid inputs: a seed whose tree, text or bytes are changed in a few places."""

from __future__ import annotations

import copy
import json
from typing import Any

import yaml
from fuzz.targets import Target
from hypothesis import strategies as st

DEEP = json.loads("[" * 60 + "]" * 60)

_WORDS = ("", "nan", "gs://", "gs:/x", "~", "../..", "{{x}}", "\0", "\ud800", "1e400", "é" * 300, "$HOME", "{date}")
_NUMBERS = (0, -1, 1, 2**31, 2**63, 2**64, 10**30, -(10**30), 0.1, -0.0, 1e308, float("inf"), float("nan"))
_VALUES = (None, True, False, [], {}, [[]], [None], {"": None}, {"name": "x"}, DEEP, *_NUMBERS, *_WORDS)
VALUES = st.one_of(
    st.sampled_from(_VALUES),
    st.integers(),
    st.floats(),
    st.text(max_size=40),
    st.lists(st.sampled_from(_VALUES), max_size=3),
)

SNIPPETS = (
    "a: &a [x]\nb: *a\n", "<<: {a: 1}\n", "!!python/object/apply:os.system [x]\n", "2026-13-45", "9" * 5000,
    "0x" + "f" * 99,
    "1:2:3:4", "!!binary x", "!!set {a}", "? {a: 1}\n: b\n", "[" * 200, "{" * 200, "\x85", "\u2028", "---\n---\n",
    "%YAML 9.9\n", "\t", "- - - - -", "|\n x", "'", '"', "&", "*", "!", "1_000", ".inf", "=", "~: ~\n", "\r", "PAR1",
)  # fmt: skip
"""What parsers of text have failed on."""


def inputs(target: Target) -> st.SearchStrategy[bytes]:
    """Inputs of a target."""
    if target.notation == "binary":
        return st.one_of(_edited(target), st.binary(max_size=200))
    texts = _spliced(target)
    if target.notation == "text":
        return st.one_of(texts, st.text(max_size=200).map(_encoded), _edited(target))
    trees = _changed_lines(target) if target.notation == "lines" else _changed_tree(target)
    return st.one_of(trees, trees, trees, texts, _edited(target))


@st.composite
def _changed_tree(draw: st.DrawFn, target: Target) -> bytes:
    tree = yaml.safe_load(draw(st.sampled_from(target.seeds)))
    return _encoded(json.dumps(_changed(draw, tree)))


@st.composite
def _changed_lines(draw: st.DrawFn, target: Target) -> bytes:
    lines = draw(st.sampled_from(target.seeds)).decode().splitlines()
    return _encoded("\n".join(json.dumps(_changed(draw, json.loads(line))) for line in lines))


@st.composite
def _spliced(draw: st.DrawFn, target: Target) -> bytes:
    text = draw(st.sampled_from(target.seeds)).decode("utf-8", "replace")
    for _ in range(draw(st.integers(1, 3))):
        first = draw(st.integers(0, len(text)))
        last = min(len(text), first + draw(st.integers(0, 20)))
        text = text[:first] + draw(st.one_of(st.sampled_from(SNIPPETS), st.text(max_size=10))) + text[last:]
    return _encoded(text)


@st.composite
def _edited(draw: st.DrawFn, target: Target) -> bytes:
    data = bytearray(draw(st.sampled_from(target.seeds)))
    for _ in range(draw(st.integers(1, 4))):
        first = draw(st.integers(0, len(data)))
        data[first : first + draw(st.integers(0, 4))] = draw(st.binary(max_size=4))
    return bytes(data[: draw(st.integers(0, len(data)))] if draw(st.integers(0, 9)) == 0 else data)


def _changed(draw: st.DrawFn, tree: Any) -> Any:
    """The tree with one to three of its values replaced, removed or renamed."""
    whole = {"": tree}
    for _ in range(draw(st.integers(1, 3))):
        places = list(_places(whole))
        parent, key = places[draw(st.integers(0, len(places) - 1))]
        change = draw(st.integers(0, 5))
        if change == 0 and parent is not whole:
            del parent[key]
        elif change == 1 and isinstance(parent, dict) and parent is not whole:
            parent[draw(st.one_of(st.sampled_from(_WORDS), st.text(max_size=8)))] = parent.pop(key)
        else:
            parent[key] = copy.deepcopy(draw(VALUES))  # a later change may be inside of it
    return whole[""]


def _places(tree: Any, depth: int = 0) -> Any:
    """(mapping or list, key) of every value below a tree."""
    if depth > 20:
        return
    keys = list(tree) if isinstance(tree, dict) else range(len(tree))
    for key in keys:
        yield tree, key
        if isinstance(tree[key], dict | list):
            yield from _places(tree[key], depth + 1)


def _encoded(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")
