"""Read a prompt set, whatever it is."""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path
from types import ModuleType

from reward_finetuning.config.errors import UserError
from reward_finetuning.prompts import hpdv2, pickapic, text
from reward_finetuning.prompts.built_in import built_in
from reward_finetuning.prompts.prompt_set import PromptSet, collect
from reward_finetuning.storage.folders import in_bucket, local_path

MAX_TEXT_BYTES = 64 * 2**10
_FORMATS: dict[str, ModuleType] = {"hpdv2": hpdv2, "pickapic": pickapic}


def read_prompts(source: str) -> PromptSet:
    """The prompts of a source, checked, NFC-normalised and without duplicates.

    Args:
        source: a file of JSON Lines or text (see prompts/text.py); a built-in set such as `shapes:train`, `animals` or
            `ppod:colour` (built_in.py); `hpdv2:PATH` (hpdv2.py) or `pickapic:PATH` (pickapic.py). A PATH may be in a
            bucket: gs://BUCKET/NAME.

    Raises:
        UserError: naming the file and, where there is one, the line.
    """
    notation, _, rest = source.partition(":")
    form = _FORMATS.get(notation, text)
    if form is not text and not rest:
        raise UserError(f"prompt set {source!r} names no file; write {notation}:PATH")
    where = source if form is text else rest
    path = (built_in(source) if form is text else None) or _here(where)
    try:
        files: list[Path] = form.locate(path)
        return _read(source, form, str(path), tuple((file, *_stamp(file)) for file in files))
    except UserError as error:
        if in_bucket(where):  # named as the config names it
            raise UserError(str(error).replace(str(path), where)) from None
        raise


def _here(source: str) -> Path:
    """The path of a source on this machine; of an object, by its generation now: a copy is never of two minds."""
    return local_path(source) if in_bucket(source) else Path(source)


def read_text_at(source: str) -> str:
    """A small text file that is no prompt set itself.

    Raises:
        UserError: it is not there, or no text.
    """
    return text.read_text(_here(source), MAX_TEXT_BYTES)


@lru_cache(maxsize=8)
def _read(source: str, form: ModuleType, where: str, files: tuple[tuple[Path, int, int], ...]) -> PromptSet:
    """One reading for as long as the files stay as they are: every epoch asks again, and some take seconds."""
    return collect(source, where, form.entries([file for file, _, _ in files]))


def _stamp(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0  # the reader says what is wrong with it
    return status.st_mtime_ns, status.st_size
