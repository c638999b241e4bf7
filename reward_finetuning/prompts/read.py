"""Read a prompt set, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.locations import HUB, PROMPT_FORMATS, hub_prompts, without_column
from reward_finetuning.prompts import hpdv2, hub, pickapic, text
from reward_finetuning.prompts.built_in import built_in
from reward_finetuning.prompts.prompt_set import Entry, PromptSet, collect
from reward_finetuning.prompts.tables import DELIMITERS, PARQUET, Table
from reward_finetuning.storage.files import Stamp, stamp
from reward_finetuning.storage.folders import in_bucket, local_path


class Format(Protocol):
    """A kind of prompt files. A module is one, too."""

    def __hash__(self) -> int:
        """A prompt set is read once for each format and file."""

    @property
    def locate(self) -> Callable[[Path], list[Path]]:
        """The files of a path."""

    @property
    def entries(self) -> Callable[[list[Path]], Iterator[Entry]]:
        """What the files hold, in order."""


MAX_TEXT_BYTES = 64 * 2**10
_FORMATS: dict[str, Format] = dict(zip(PROMPT_FORMATS, (hpdv2, pickapic), strict=True))


def read_prompts(source: str) -> PromptSet:
    """The prompts of a source, checked, NFC-normalised and without duplicates.

    Args:
        source: a file of JSON Lines or text (see prompts/text.py); a table with or without `:COLUMN` (tables.py); a
            built-in set such as `shapes:train`, `animals` or `ppod:colour` (built_in.py); `hpdv2:PATH` (hpdv2.py) or
            `pickapic:PATH` (pickapic.py); `hf:owner/name[split].column` (hub.py). A PATH may be in a bucket.

    Returns:
        Its `source` is the argument; of the hub, with the commit that was read.

    Raises:
        UserError: naming the file and, where there is one, the line.
        RetryableError: the hub cannot be reached.
    """
    if source.startswith(HUB):
        return _from_hub(source)
    notation, _, rest = source.partition(":")
    if notation in _FORMATS and not rest:
        raise UserError(f"prompt set {source!r} names no file; write {notation}:PATH")
    where, form = (rest, _FORMATS[notation]) if notation in _FORMATS else _table_or_text(source)
    path = (built_in(source) if form is text else None) or _on_this_machine(where)
    try:
        files: list[Path] = form.locate(path)
        return _read(source, form, str(path), tuple(map(stamp, files)))
    except UserError as error:
        if in_bucket(where):  # named as the config names it
            raise UserError(str(error).replace(str(path), where)) from None
        raise


def _from_hub(source: str) -> PromptSet:
    try:
        named = hub_prompts(source)
    except ValueError as error:
        raise UserError(f"prompt set: {error}") from None
    dataset = hub.at_commit(named)
    path = hub.local_copy(dataset)
    try:
        return _read(dataset.notation, Table(dataset.column), str(path), (stamp(path),))
    except UserError as error:  # named as the config names it
        raise UserError(str(error).replace(str(path), dataset.notation)) from None


def _table_or_text(source: str) -> tuple[str, Format]:
    """The file, and how it is read."""
    where, column = without_column(source)
    if not column and Path(where).suffix.lower() in {*DELIMITERS, PARQUET}:
        column = "prompt"
    return where, Table(column) if column else text


def _on_this_machine(source: str) -> Path:
    """The path of a source on this machine; an object of a bucket is copied, one copy for each generation."""
    return local_path(source) if in_bucket(source) else Path(source)


def read_text_at(source: str) -> str:
    """A small text file that is no prompt set itself.

    Raises:
        UserError: it is not there, or no text.
    """
    return text.read_text(_on_this_machine(source), MAX_TEXT_BYTES)


@lru_cache(maxsize=8)
def _read(source: str, form: Format, where: str, files: tuple[Stamp, ...]) -> PromptSet:
    """One reading for as long as the files stay as they are: every epoch asks again, and some take seconds."""
    return collect(source, where, form.entries([file for file, *_ in files]))
