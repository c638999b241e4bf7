"""The settings of a run that name something outside of it: the one table, and how to walk and change them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeVar

from pydantic import BaseModel

from reward_finetuning.config.locations import BUCKET_EXAMPLES

Access = Literal["read", "write", "call", "import"]
"""What tasks do with it: read files, write files, send requests, or import Python code."""


class Kind(Enum):
    """What a setting names."""

    RUNS = f"a folder ({BUCKET_EXAMPLES} in a bucket) that holds runs or is one"
    MODEL = f"`shapes`, a folder, a file, {BUCKET_EXAMPLES}, or a hub id"
    FILES = f"a folder, a file, {BUCKET_EXAMPLES}"
    WEIGHTS = f"a folder, {BUCKET_EXAMPLES}, or a hub id"
    PROMPTS = (
        f"a built-in set, a file or {BUCKET_EXAMPLES}, with hpdv2: or pickapic: before it, or :COLUMN after it, "
        "or hf:owner/name[split].column"
    )
    PLUGIN = "Python code, installed where tasks run"
    SERVICE = "the address of a scoring service"
    TRACKING = "the address of an MLflow server, or a file"


@dataclass(frozen=True, slots=True)
class External:
    """One row: a setting, what it names, and what its consumers do with it.

    `absolute_paths` makes paths of any row absolute; the containers of `--runner docker` mount what is read or written,
    and have a network for what is called; `rft submit` refuses paths that pods cannot reach.
    """

    key: str
    """Dotted; `*` stands for each key of a mapping, and for each item of a list."""

    kind: Kind
    access: Access = "read"
    digest: str = ""
    """Key of the digest of what is named, `*` as in `key`; empty: no digest is taken, contents may change."""


EXTERNALS = (
    External("run_root", Kind.RUNS, "write"),
    External("model.source", Kind.MODEL, digest="model.digest"),
    External("model.adapter", Kind.FILES, digest="model.digest"),
    External("model.single_file_configs", Kind.FILES, digest="model.digest"),
    External("warm_start.run_directory", Kind.RUNS, digest="warm_start.digest"),
    External("policies.*.run", Kind.RUNS),
    External("prompts.train", Kind.PROMPTS, digest="prompts.digest"),
    External("evaluation.prompt_sets.*", Kind.PROMPTS, digest="evaluation.*.digest"),
    External("reward.scorers.*.source", Kind.WEIGHTS, digest="reward.*.digest"),
    External("reward.scorers.*.use", Kind.PLUGIN, "import", digest="reward.*.digest"),
    External("reward.scorers.*.url", Kind.SERVICE, "call", digest="reward.*.digest"),
    External("tracking.uri", Kind.TRACKING, "write"),
)
"""For a RunConfig and an EvaluationRun; a row whose section the config does not have names nothing."""

Config = TypeVar("Config", bound=BaseModel)


@dataclass(frozen=True, slots=True)
class Setting:
    """A setting of a config that names something."""

    path: tuple[str | int, ...]
    """Where it stands: keys and indices."""

    value: str
    external: External

    @property
    def key(self) -> str:
        """Dotted, as messages name it."""
        return ".".join(map(str, self.path))

    @property
    def digest(self) -> str:
        """Key of the digest of what is named; empty: none is taken."""
        stars = [part for part, row in zip(self.path, self.external.key.split("."), strict=True) if row == "*"]
        return self.external.digest.replace("*", str(stars[0])) if stars else self.external.digest


def external_settings(config: BaseModel) -> Iterator[Setting]:
    """The settings of a config that name something, in the table's order; those not given (null) are left out."""
    for row in EXTERNALS:
        for path, value in _values(config, row.key.split("."), ()):
            yield Setting(path, value, row)


def replace_external(config: Config, change: Callable[[Setting], str]) -> Config:
    """A copy of the config in which each external setting has the value that `change` returns for it."""
    tree = config.model_dump(mode="json")
    for setting in external_settings(config):
        *sections, leaf = setting.path
        section: Any = tree
        for part in sections:
            section = section[part]
        section[leaf] = change(setting)
    return type(config).model_validate(tree)


def _values(
    node: object, pattern: Sequence[str], path: tuple[str | int, ...]
) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """Path and value of each text that the pattern leads to."""
    if not pattern:
        if isinstance(node, str):
            yield path, node
        return
    part, *rest = pattern
    for key, child in _children(node, part):
        yield from _values(child, rest, (*path, key))


def _children(node: object, part: str) -> Iterator[tuple[str | int, object]]:
    if isinstance(node, BaseModel) and part in type(node).model_fields:
        yield part, getattr(node, part)
    elif part == "*" and isinstance(node, Mapping):
        yield from node.items()
    elif part == "*" and isinstance(node, tuple):
        yield from enumerate(node)
