"""Prompts from a text file, one a line, or from JSON Lines of {prompt, id?, category?, split?}."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import UserError
from reward_finetuning.config.parsing import parse_json
from reward_finetuning.prompts.prompt_set import Entry
from reward_finetuning.storage.files import read_regular

MAX_FILE_BYTES = 256 * 2**20
MAX_LINE_CHARACTERS = 2**18
"""A line of JSON may hold more than the prompt; a longer line is no line of a prompt set."""

MAX_LINES = 10_000_000

_JSON_LINES = {".jsonl", ".json", ".ndjson"}
_OTHERS = {
    *(".arrow", ".feather", ".xls", ".xlsx", ".ods", ".sqlite", ".db", ".pkl", ".pt", ".safetensors"),
    *(".yaml", ".yml", ".toml", ".xml", ".html", ".md", ".pdf", ".doc", ".docx", ".rtf"),
    *(".gz", ".bz2", ".xz", ".zst", ".zip", ".tar", ".7z"),
}


def locate(path: Path) -> list[Path]:
    """The file itself.

    Raises:
        UserError: by its name it is of another format, whose lines are no prompts.
    """
    suffix = path.suffix.lower()
    if suffix in _OTHERS:
        raise UserError(
            f"prompt set {path}: a {suffix} file is no list of prompts; give text with one prompt a line (.txt), or "
            "JSON Lines (.jsonl)"
        )
    return [path]


def entries(files: list[Path]) -> Iterator[Entry]:
    """One for each line; UTF-8 with or without BOM, any line ending."""
    for path in files:
        is_json = path.suffix.lower() in _JSON_LINES
        text = read_text(path, MAX_FILE_BYTES).replace("\r\n", "\n").replace("\r", "\n")
        if (number := text.count("\n")) > MAX_LINES:
            raise UserError(f"prompt set {path} has {number} lines; at most {MAX_LINES} are read")
        *lines, rest = text.split("\n")
        for number, line in enumerate([*lines, rest] if rest else lines, start=1):
            yield _entry(line, is_json=is_json, where=f"{path}:{number}")


def read_text(path: Path, max_bytes: int) -> str:
    """A file's text.

    Raises:
        UserError: there is no such file, it is too large, or it is not UTF-8; the text names file and line.
    """
    try:
        raw = read_regular(path, max_bytes)
    except FileNotFoundError:
        raise UserError(f"prompt set {path} does not exist; give a JSON Lines or text file, or shapes:train") from None
    except OSError as error:
        raise UserError(f"prompt set {path} cannot be read: {error.strerror}") from None
    except UserError as error:
        raise UserError(f"prompt set {error}") from None
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        if raw.startswith(b"PAR1"):
            raise UserError(f"prompt set {path} is a parquet file; its name must end in .parquet") from None
        line = raw.count(b"\n", 0, error.start) + 1
        given = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise UserError(f"prompt set {path}:{line} is not UTF-8 ({given}); save the file as UTF-8") from None


def _entry(line: str, *, is_json: bool, where: str) -> Entry:
    if len(line) > MAX_LINE_CHARACTERS:
        raise UserError(f"{where} has {len(line)} characters; a line has at most {MAX_LINE_CHARACTERS}")
    line = line.strip()
    if is_json and line:
        return _record(line, where)
    if line.startswith("{") and line.endswith("}") and _is_record(line):
        raise UserError(f"{where} is a JSON object, which would be the prompt as it is; name JSON Lines FILE.jsonl")
    return Entry(line, where)


def _record(line: str, where: str) -> Entry:
    try:
        record = parse_json(line)
    except ValueError as error:
        raise UserError(f'{where} is no JSON object: {shown(str(error))}; a line reads {{"prompt": "..."}}') from None
    if not isinstance(record, dict) or not isinstance(record.get("prompt"), str):
        raise UserError(f"{where} must be a JSON object with a text field `prompt`, got {shown(line)}")
    fields = {key: record[key] for key in ("id", "category", "split") if record.get(key) is not None}
    for key, value in fields.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float):
            raise UserError(f"{where}: {key} must be a text or a number, got {shown(value)}")
    return Entry(record["prompt"], where, **{key: str(value) for key, value in fields.items()})


def _is_record(line: str) -> bool:
    try:
        record = parse_json(line)
    except ValueError:
        return False
    return isinstance(record, dict) and "prompt" in record
