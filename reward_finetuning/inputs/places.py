"""Where the things are that a config names: installed, on this machine, in a bucket, on the hub, at an address."""

from __future__ import annotations

import re
from enum import Enum
from pathlib import Path

from reward_finetuning.config.externals import Config, Kind, Setting, replace_external
from reward_finetuning.config.locations import HUB, PROMPT_FORMATS, without_column
from reward_finetuning.policy.pretrained.built_in import BUILT_IN_MODELS
from reward_finetuning.prompts.built_in import built_in
from reward_finetuning.storage.uri import in_bucket

_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_PREFIXES = {
    Kind.PROMPTS: tuple(f"{name}:" for name in PROMPT_FORMATS),
    Kind.TRACKING: ("file://", "sqlite:///"),
}


class Place(Enum):
    """Where a setting's value leads."""

    INSTALLED = "comes with the code that tasks run"
    MACHINE = "a path of this machine"
    BUCKET = "a bucket of a storage service"
    HUB = "a repository of the Hugging Face hub"
    NETWORK = "an address"


def place_of(setting: Setting) -> Place:
    """Where the value leads, as seen from this machine: a folder that is there is meant before a hub id."""
    kind, (_, name, _) = setting.external.kind, _split(setting)
    if kind is Kind.PLUGIN or (kind is Kind.MODEL and name in BUILT_IN_MODELS):
        return Place.INSTALLED
    if kind is Kind.SERVICE or (kind is Kind.TRACKING and "://" in name):
        return Place.NETWORK
    if in_bucket(name):
        return Place.BUCKET
    if kind is Kind.PROMPTS and built_in(setting.value) is not None:
        return Place.INSTALLED
    return Place.HUB if _is_on_hub(kind, name) else Place.MACHINE


def _is_on_hub(kind: Kind, name: str) -> bool:
    if kind is Kind.PROMPTS:
        return name.startswith(HUB)
    return kind in {Kind.MODEL, Kind.WEIGHTS} and _HUB_ID.fullmatch(name) is not None and not Path(name).exists()


def path_of(setting: Setting) -> Path | None:
    """The file, folder or pattern on this machine that the setting names; None for what is elsewhere."""
    return Path(_split(setting)[1]) if place_of(setting) is Place.MACHINE else None


def bucket_uri_of(setting: Setting) -> str | None:
    """The URI of the object or folder in a bucket that the setting names; None for what is elsewhere."""
    return _split(setting)[1] if place_of(setting) is Place.BUCKET else None


def absolute_paths(config: Config, kinds: frozenset[Kind] = frozenset(Kind)) -> Config:
    """The config with paths that mean the same in a container, or in another working directory.

    Args:
        config: a run or an evaluation.
        kinds: only settings of these kinds are changed.
    """

    def absolute(setting: Setting) -> str:
        path = path_of(setting) if setting.external.kind in kinds else None
        return setting.value if path is None else f"{_split(setting)[0]}{path.absolute()}{_split(setting)[2]}"

    return replace_external(config, absolute)


def _split(setting: Setting) -> tuple[str, str, str]:
    """What stands before the name (the format of a prompt set, the scheme of a file), the name, and what follows it."""
    prefixes = _PREFIXES.get(setting.external.kind, ())
    prefix = next((prefix for prefix in prefixes if setting.value.startswith(prefix)), "")
    name = setting.value.removeprefix(prefix)
    if setting.external.kind is Kind.PROMPTS and not prefix:
        file, column = without_column(name)
        return prefix, file, f":{column}" if column else ""
    return prefix, name, ""
