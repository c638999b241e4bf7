"""A prompt set whose name stays and whose contents change: what it leads to now."""

from __future__ import annotations

import datetime
import re

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import UserError
from reward_finetuning.prompts.built_in import DATE, siblings
from reward_finetuning.prompts.prompt_set import PromptSet, as_json_lines
from reward_finetuning.prompts.read import read_prompts, read_text_at
from reward_finetuning.storage import Store, open_store

POINTER = ".pointer"
_ISO_DATE = r"(\d{4}-\d{2}-\d{2})"


def follow(source: str, today: datetime.date) -> str:
    """The prompt set that `source` leads to.

    Args:
        source: a name with `{date}`: the newest that is there and not after `today`; a file that ends in `.pointer`:
            the name that it holds, relative to its own folder; anything else: itself.
        today: in UTC.

    Raises:
        UserError: there is none, or the pointer holds something else.
    """
    if DATE in source:
        source = _newest(source, today)
    if source.endswith(POINTER):
        return _pointed(source)
    return source


def snapshot(store: Store, prompts: PromptSet) -> str:
    """A copy that stays as it is, whatever becomes of what it was read from; returns its name."""
    return store.create_text(f"prompts/{prompts.digest}.jsonl", as_json_lines(prompts))


def read_now(source: str, today: datetime.date) -> PromptSet:
    """The prompts that `source` leads to now, checked."""
    return read_prompts(follow(source, today))


def _newest(source: str, today: datetime.date) -> str:
    folder, slash, pattern = source.rpartition("/")
    if DATE in folder:
        raise UserError(f"prompts.train {shown(source)}: {DATE} stands in the file's name, not in a folder's")
    family = siblings(source)
    names = open_store(folder or ".").names("") if family is None else family
    named = re.compile(re.escape(pattern).replace(re.escape(DATE), _ISO_DATE))
    files = sorted(name for name in names if (match := named.fullmatch(name)) and match[1] <= today.isoformat())
    if not files:
        there = ", ".join(names[-5:]) or "nothing"
        raise UserError(
            f"prompts.train {shown(source)}: no such file up to {today}; {folder or 'the folder'} holds {there}"
        )
    return f"{folder}{slash}{files[-1]}"


def _pointed(source: str) -> str:
    lines = [line.strip() for line in read_text_at(source).splitlines() if line.strip()]
    if len(lines) != 1:
        raise UserError(f"prompts.train {shown(source)} must hold one line, the prompt set's name; it has {len(lines)}")
    (name,) = lines
    folder = source.rpartition("/")[0]
    return name if name.startswith("/") or ":" in name or not folder else f"{folder}/{name}"
