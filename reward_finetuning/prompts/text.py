"""Prompts from a text file, one a line, or from JSON Lines of {prompt, id?, category?, split?}."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

from reward_finetuning.config.errors import UserError
from reward_finetuning.prompts.prompt_set import Entry

MAX_FILE_BYTES = 256 * 2**20


def locate(path: Path) -> list[Path]:
    """The file itself."""
    return [path]


def entries(files: list[Path]) -> Iterator[Entry]:
    """One for each line; UTF-8 with or without BOM, any line ending."""
    for path in files:
        is_json = path.suffix in {".jsonl", ".json"}
        *lines, rest = read_text(path, MAX_FILE_BYTES).replace("\r\n", "\n").replace("\r", "\n").split("\n")
        for number, line in enumerate([*lines, rest] if rest else lines, start=1):
            yield _entry(line.strip(), is_json=is_json, where=f"{path}:{number}")


def read_text(path: Path, max_bytes: int) -> str:
    """A file's text.

    Raises:
        UserError: there is no such file, it is too large, or it is not UTF-8; the text names file and line.
    """
    try:
        size = path.stat().st_size
        if size > max_bytes:
            raise UserError(f"prompt set {path} has {size} bytes; at most {max_bytes} are read")
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"prompt set {path} does not exist; give a JSON Lines or text file, or shapes:train") from None
    except OSError as error:
        raise UserError(f"prompt set {path} cannot be read: {error.strerror}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if raw.startswith(b"PAR1"):
            raise UserError(f"prompt set {path} is a parquet file; Pick-a-Pic's are named pickapic:{path}") from None
        line = raw.count(b"\n", 0, error.start) + 1
        given = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise UserError(f"prompt set {path}:{line} is not UTF-8 ({given}); save the file as UTF-8") from None


def _entry(line: str, *, is_json: bool, where: str) -> Entry:
    if not is_json or not line:
        return Entry(line, where)
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f'{where} is no JSON object: {error.msg}; a line reads {{"prompt": "..."}}') from None
    if not isinstance(record, dict) or not isinstance(record.get("prompt"), str):
        raise UserError(f"{where} must be a JSON object with a text field `prompt`, got {line[:80]}")
    fields = {key: str(record[key]) for key in ("id", "category", "split") if record.get(key) is not None}
    return Entry(record["prompt"], where, **fields)
