"""Prompts from a column of a table: parquet, CSV, TSV, JSON Lines, or a JSON array of objects.

`PATH:COLUMN` names the column; of parquet, CSV and TSV it is `prompt` if none is named. The columns `id`, `category`
and `split` are read where the table has them.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import UserError
from reward_finetuning.config.parsing import parse_json
from reward_finetuning.prompts.prompt_set import Entry
from reward_finetuning.prompts.text import MAX_FILE_BYTES, MAX_LINE_CHARACTERS, MAX_LINES, read_text
from reward_finetuning.server_errors import one_line

DELIMITERS = {".csv": ",", ".tsv": "\t"}
PARQUET = ".parquet"
_OTHERS = ("id", "category", "split")

Row = tuple[str, Mapping[str, Any]]
"""Where it is, for messages; column -> value."""


@dataclass(frozen=True, slots=True)
class Table:
    """A format of prompt files: tables whose prompts are in `column`."""

    column: str

    def locate(self, path: Path) -> list[Path]:
        """The file itself."""
        return [path]

    def entries(self, files: list[Path]) -> Iterator[Entry]:
        """One for each row.

        Raises:
            UserError: naming file and row; or the column is not there, with those that are.
        """
        for path in files:
            for number, (where, row) in enumerate(_rows(path, self.column)):
                if number >= MAX_LINES:
                    raise UserError(f"prompt set {path} has more than {MAX_LINES} rows, which is the most that is read")
                yield self._entry(where, row)

    def _entry(self, where: str, row: Mapping[str, Any]) -> Entry:
        if self.column not in row:
            raise _no_column(where, self.column, row)
        text = row[self.column]
        if text is not None and not isinstance(text, str):
            raise UserError(f"{where}: column {self.column!r} must be text, got {shown(text)}")
        others = {key: row[key] for key in _OTHERS if row.get(key) is not None and key != self.column}
        for key, value in others.items():
            if isinstance(value, bool) or not isinstance(value, str | int | float):
                raise UserError(f"{where}: {key} must be a text or a number, got {shown(value)}")
        return Entry(text or "", where, **{key: str(value) for key, value in others.items()})


def _rows(path: Path, column: str) -> Iterator[Row]:
    suffix = path.suffix.lower()
    if suffix == PARQUET:
        return _parquet_rows(path, column)
    if suffix in DELIMITERS:
        return _delimited_rows(path, DELIMITERS[suffix], column)
    return _json_rows(path)


def _delimited_rows(path: Path, delimiter: str, column: str) -> Iterator[Row]:
    """Rows of a CSV file (RFC 4180) with a header; a quoted field may contain line breaks."""
    text = StringIO(read_text(path, MAX_FILE_BYTES), newline="")
    reader = csv.DictReader(text, delimiter=delimiter, strict=True, restkey="", restval=None)
    try:
        if column not in (reader.fieldnames or ()):
            raise _no_column(f"prompt set {path}", column, reader.fieldnames or ())
        for row in reader:
            where = f"{path}:{reader.line_num}"
            if "" in row or any(value is None for value in row.values()):
                raise UserError(f"{where} has another number of fields than the header, which has {len(row)}")
            yield where, row
    except csv.Error as error:
        raise UserError(f"{path}:{reader.reader.line_num} is no row of a table: {one_line(error)}") from None


def _json_rows(path: Path) -> Iterator[Row]:
    """Objects of a JSON array, or one object a line."""
    text = read_text(path, MAX_FILE_BYTES)
    if text.lstrip().startswith("["):
        records: Iterable[tuple[str, str | Any]] = _array(path, text)
    else:
        lines = text.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        records = ((f"{path}:{number}", line) for number, line in enumerate(lines, start=1) if line.strip())
    for where, record in records:
        row = _object(where, record) if isinstance(record, str) else record
        if not isinstance(row, dict):
            raise UserError(f"{where} must be a JSON object, got {shown(row)}")
        yield where, row


def _array(path: Path, text: str) -> Iterator[tuple[str, Any]]:
    try:
        items = parse_json(text)
    except ValueError as error:
        raise UserError(f"prompt set {path} is no JSON: {shown(str(error))}") from None
    # A text is no row either; as JSON text it would be parsed again.
    return ((f"{path}, item {number}", [item] if isinstance(item, str) else item) for number, item in enumerate(items))


def _object(where: str, line: str) -> Any:
    if len(line) > MAX_LINE_CHARACTERS:
        raise UserError(f"{where} has {len(line)} characters; a line has at most {MAX_LINE_CHARACTERS}")
    try:
        return parse_json(line)
    except ValueError as error:
        raise UserError(f"{where} is no JSON object: {shown(str(error))}") from None


def _parquet_rows(path: Path, column: str) -> Iterator[Row]:
    """Rows with the columns that are needed; the others, such as pictures, are not read from disk."""
    try:
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise UserError("parquet files are read with pyarrow: pip install 'reward-finetuning[train]'") from None
    if path.exists() and not path.is_file():
        raise UserError(f"prompt set {path} is a folder, a device or a pipe; give a parquet file")
    row = 0
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            names = file.schema_arrow.names
            if column not in names:
                raise _no_column(f"prompt set {path}", column, names)
            needed = [column, *(name for name in _OTHERS if name in names and name != column)]
            for batch in file.iter_batches(batch_size=4096, columns=needed):
                for record in batch.to_pylist():
                    yield f"{path}, row {row}", record
                    row += 1
    except FileNotFoundError:
        raise UserError(f"prompt set {path} does not exist") from None
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"prompt set {path} is no whole parquet file: {one_line(error, 200)}") from None


def _no_column(where: str, column: str, names: Iterable[str]) -> UserError:
    return UserError(f"{where} has no column {column!r}; it has {shown(list(names))}; name one as FILE:COLUMN")
