"""A checked prompt set, whatever file it came from."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import UserError
from reward_finetuning.records import Prompt

MAX_PROMPT_CHARACTERS = 16_384
_LONGEST_RAW = 4 * MAX_PROMPT_CHARACTERS
"""Before normalisation, which may make a text a few times shorter."""


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Checked prompts, in file order, without duplicates."""

    source: str
    prompts: tuple[Prompt, ...]
    digest: str
    """sha256 of what was kept; the set's identity."""

    duplicates: int
    """Entries left out because their text came before."""

    empties: int
    """Entries without text."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A prompt as a file has it."""

    text: str
    where: str
    """File and line, for messages."""

    id: str = ""
    """Empty: the sha256 of the text."""

    category: str = ""
    split: str = ""


def collect(source: str, where: str, entries: Iterable[Entry]) -> PromptSet:
    """Normalise, check and deduplicate what a reader found; of equal texts the first stays.

    Args:
        source: how the config names the set.
        where: the file or folder, for messages.
        entries: in file order.

    Raises:
        UserError: naming the file and, where there is one, the line.
    """
    prompts: dict[str, Prompt] = {}
    duplicates = empties = 0
    for entry in entries:
        text = _checked(entry) if entry.text else ""
        if not text:
            empties += 1
        elif text in prompts:
            duplicates += 1
        else:
            prompt_id = entry.id or sha256(text.encode("utf-8")).hexdigest()[:16]
            prompts[text] = Prompt(prompt_id, text, entry.category, entry.split)
    if not prompts:
        raise UserError(f"prompt set {where} holds no prompt: give at least one that is not empty")
    kept = tuple(prompts.values())
    _refuse_repeated_ids(kept, where)
    return PromptSet(source, kept, _digest(kept), duplicates, empties)


def as_json_lines(prompts: PromptSet) -> str:
    """The set as a JSON Lines file that reads as the same set, digest included."""
    lines = [
        {"id": prompt.id, "prompt": prompt.text, "category": prompt.category, "split": prompt.split}
        for prompt in prompts.prompts
    ]
    return "".join(f"{json.dumps(line, ensure_ascii=False)}\n" for line in lines)


def _checked(entry: Entry) -> str:
    for value in (entry.text, entry.id, entry.category, entry.split):
        if len(value) > _LONGEST_RAW:
            raise UserError(f"{entry.where} has {len(value)} characters; a prompt has at most {MAX_PROMPT_CHARACTERS}")
        if not _is_unicode(value):
            raise UserError(f"{entry.where} holds a lone surrogate, which is no character; save the file as UTF-8")
    text = unicodedata.normalize("NFC", entry.text).strip()
    if "\0" in text:
        raise UserError(f"{entry.where} holds a NUL character; a prompt is plain text")
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise UserError(f"{entry.where} has {len(text)} characters; a prompt has at most {MAX_PROMPT_CHARACTERS}")
    return text


def _is_unicode(value: str) -> bool:
    try:
        value.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


def _refuse_repeated_ids(prompts: tuple[Prompt, ...], where: str) -> None:
    seen: dict[str, str] = {}
    for prompt in prompts:
        if prompt.id in seen:
            raise UserError(
                f"prompt set {where}: id {shown(prompt.id)} stands for {shown(seen[prompt.id])} and "
                f"{shown(prompt.text)}"
            )
        seen[prompt.id] = prompt.text


def _digest(prompts: tuple[Prompt, ...]) -> str:
    digest = sha256()
    for prompt in prompts:
        digest.update(json.dumps([prompt.id, prompt.text, prompt.category, prompt.split]).encode() + b"\n")
    return digest.hexdigest()
