"""Prompts of Pick-a-Pic v1 and v2 (arXiv:2305.01569) in their published parquet files.

Columns, as the card of huggingface.co/datasets/yuvalkirstain/pickapic_v1 lists them: `caption` (the prompt, a string)
is read; `jpg_0`, `jpg_1` (the pictures, nearly all of the 190 GB), `label_0`, `label_1`, `are_different`, `has_label`,
`best_image_uid`, `ranking_id`, `user_id`, `num_example_per_prompt` and the rest are not. v2 and its edition without
pictures have `caption` too. Splits are train, validation, test, and the two that github.com/yuvalkirstain/PickScore
evaluates on, validation_unique and test_unique; the hub calls a split's files `train-00000-of-00645-<hash>.parquet`. A
prompt has many rows: one stays.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from glob import glob, has_magic
from pathlib import Path
from typing import Any

from reward_finetuning.config.errors import UserError
from reward_finetuning.prompts.prompt_set import Entry
from reward_finetuning.server_errors import one_line
from reward_finetuning.storage.files import files_below

COLUMN = "caption"

_SPLIT = re.compile(r"(\w+)-\d+-of-\d+")


def locate(path: Path) -> list[Path]:
    """A file, all parquet files of a folder, or those that a pattern such as `data/train-*.parquet` matches.

    Raises:
        UserError: there are none, or they are of several splits: test prompts would be trained on.
    """
    if has_magic(str(path)):
        files = sorted(map(Path, glob(str(path), recursive=True)))
    else:
        files = [file for file in files_below(path) if file.suffix == ".parquet"] if path.is_dir() else [path]
    if not files:
        raise UserError(f"prompt set {path}: no parquet file is there; name a file, a folder or a pattern")
    if len(splits := sorted({_split(file) for file in files})) > 1:
        example = path / "**" / f"{splits[0] or 'train'}-*.parquet" if path.is_dir() else "train-*.parquet"
        raise UserError(
            f"prompt set {path} holds several splits ({', '.join(splits)}), and test prompts must not be trained on; "
            f"name one by a pattern, e.g. pickapic:{example}"
        )
    return files


def entries(files: list[Path]) -> Iterator[Entry]:
    """One for each row; only the captions are read from disk.

    Raises:
        UserError: naming the file: it is no parquet, or has no text column `caption`, and what it has.
    """
    for path in files:
        row = 0
        for captions in _batches(path):
            for caption in captions:
                yield Entry(caption or "", f"{path}, row {row}", split=_split(path))
                row += 1


def _batches(path: Path) -> Iterator[list[str | None]]:
    pa, pq = _pyarrow()
    if path.exists() and not path.is_file():
        raise UserError(f"prompt set {path} is a folder, a device or a pipe; give a parquet file of Pick-a-Pic")
    try:
        with pq.ParquetFile(path, memory_map=True) as file:
            schema = file.schema_arrow
            if COLUMN not in schema.names:
                has = ", ".join(schema.names)
                raise UserError(
                    f"prompt set {path} has no column `{COLUMN}`, which Pick-a-Pic's files have; it has {has}"
                )
            if (kind := schema.field(COLUMN).type) not in {pa.string(), pa.large_string()}:
                raise UserError(f"prompt set {path}: column `{COLUMN}` must be text, it is {kind}")
            for batch in file.iter_batches(columns=[COLUMN]):
                yield batch.column(0).to_pylist()
    except FileNotFoundError:
        raise UserError(f"prompt set {path} does not exist; give a parquet file of Pick-a-Pic") from None
    except (OSError, ValueError) as error:
        if isinstance(error, UserError):
            raise
        raise UserError(f"prompt set {path} is no whole parquet file: {one_line(error, 200)}") from None


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError:
        raise UserError("pickapic: prompt sets are read with pyarrow: pip install 'reward-finetuning[train]'") from None
    return pa, pq


def _split(path: Path) -> str:
    match = _SPLIT.match(path.stem)
    return match.group(1) if match else ""
