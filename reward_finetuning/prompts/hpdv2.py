"""Prompts of Human Preference Dataset v2 (arXiv:2306.09341) in its published files.

Format, as github.com/tgxs002/HPSv2 (README, "Human Preference Dataset v2") documents it: the folder `benchmark` has
one file a style, `anime.json`, `concept-art.json`, `paintings.json`, `photo.json`, each a list of 800 prompts;
`train.json` and `test.json` are lists of records, of which the field `prompt` is read (the others are
`human_preference`, `file_path`, `user_hash` in the one and `image_path`, `rank`, `raw_annotation` in the other). A
prompt may have several records: one stays.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import UserError
from reward_finetuning.prompts.prompt_set import Entry
from reward_finetuning.prompts.text import read_text

STYLES = ("anime", "concept-art", "paintings", "photo")
"""What the benchmark calls its styles; the paper: Animation, Concept-art, Painting, Photo."""

MAX_FILE_BYTES = 2 * 2**30

_SPACE = re.compile(r"\s*")


def locate(path: Path) -> list[Path]:
    """The four files of a benchmark folder, or one file of the dataset.

    Raises:
        UserError: a folder lacks a style.
    """
    if not path.is_dir():
        return [path]
    files = [path / f"{style}.json" for style in STYLES]
    if missing := [file.name for file in files if not file.is_file()]:
        files_there = ", ".join(sorted(file.name for file in path.iterdir())[:10]) or "nothing"
        raise UserError(
            f"prompt set {path} lacks {', '.join(missing)} of HPD v2's benchmark (it holds {files_there}); "
            "name that folder, or one file: a style, train.json or test.json"
        )
    return files


def entries(files: list[Path]) -> Iterator[Entry]:
    """A style's prompts have it as their category; those of train.json and test.json have the split.

    Raises:
        UserError: naming the file and the item that has no prompt.
    """
    for path in files:
        category = path.stem if path.stem in STYLES else ""
        split = path.stem if path.stem in {"train", "test"} else ""
        for number, item in enumerate(_items(read_text(path, MAX_FILE_BYTES), path)):
            where = f"{path}, item {number}"
            yield Entry(_prompt(item, where), where, category=category, split=split)


def _prompt(item: object, where: str) -> str:
    prompt = item.get("prompt") if isinstance(item, dict) else item
    if not isinstance(prompt, str):
        has = f"fields {', '.join(map(str, list(item)[:10]))[:200]}" if isinstance(item, dict) else shown(item)
        raise UserError(f"{where} must be a text, or a record with a text field `prompt`; it has {has}")
    return prompt


def _items(text: str, path: Path) -> Iterator[object]:
    """The list's items one after the other: train.json as one tree of objects would take gigabytes."""
    decoder = json.JSONDecoder()
    position = _after_space(text, 0)
    if not text.startswith("[", position):
        raise UserError(f"{path} must hold a JSON list, as HPD v2's files do; it begins with {shown(text[:40])}")
    position = _after_space(text, position + 1)
    while not text.startswith("]", position):
        try:
            item, position = decoder.raw_decode(text, position)
        except json.JSONDecodeError as error:
            raise UserError(f"{path}:{error.lineno} is no whole JSON list: {error.msg}") from None
        except (RecursionError, ValueError):
            line = text.count(chr(10), 0, position) + 1
            raise UserError(f"{path}:{line}: an item is nested too deeply, or has a number that is too long") from None
        yield item
        position = _after_space(text, position)
        if text.startswith(",", position):
            position = _after_space(text, position + 1)
        elif not text.startswith("]", position):
            raise UserError(
                f"{path}:{text.count(chr(10), 0, position) + 1} is no whole JSON list: no , or ] after an item"
            )


def _after_space(text: str, position: int) -> int:
    space = _SPACE.match(text, position)
    assert space is not None
    return space.end()
