"""Read and check a prompt set; draw an epoch's prompts reproducibly. Prompts are untrusted text."""

from __future__ import annotations

import json
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import numpy as np

from reward_finetuning.config.errors import UserError
from reward_finetuning.records import Prompt, Sample, Stream

MAX_FILE_BYTES = 256 * 2**20
MAX_PROMPT_CHARACTERS = 16_384
_BUILT_IN = "shapes:"


@dataclass(frozen=True, slots=True)
class PromptSet:
    """Checked prompts, in file order, without duplicates."""

    source: str
    prompts: tuple[Prompt, ...]
    digest: str  # sha256 of what was kept; the set's identity
    duplicates: int  # lines left out because their text came before
    empties: int  # lines without text


def read_prompts(source: str) -> PromptSet:
    """Read a prompt file: JSON Lines of {prompt, id?, category?, split?}, or text with one prompt a line.

    UTF-8 with or without BOM, any line ending; text is NFC-normalised. A missing id is the sha256 of the text.

    Args:
        source: a path, or `shapes:train`, `shapes:heldout`, `shapes:large` of the built-in world.

    Raises:
        UserError: naming the file and, where there is one, the line.
    """
    path = _path(source)
    text = _text(path)
    prompts: list[Prompt] = []
    texts: set[str] = set()
    duplicates = empties = 0
    for number, line in enumerate(text.split("\n"), start=1):
        prompt = _prompt(line.strip(), is_json=path.suffix in {".jsonl", ".json"}, where=f"{path}:{number}")
        if prompt is None:
            empties += number <= text.count("\n")  # what follows the last newline is no line
        elif prompt.text in texts:
            duplicates += 1
        else:
            texts.add(prompt.text)
            prompts.append(prompt)
    if not prompts:
        raise UserError(f"prompt set {path} holds no prompt: give at least one non-empty line")
    _refuse_repeated_ids(prompts, path)
    return PromptSet(source, tuple(prompts), _digest(prompts), duplicates, empties)


def draw_prompts(prompts: PromptSet, num: int, *, seed: int, epoch: int) -> tuple[Prompt, ...]:
    """The `num` prompts of epoch 1, 2, ...: each pass over the set has an order of its own, cut into whole epochs.

    Raises:
        UserError: the set holds fewer than `num` prompts.
    """
    check_enough(prompts, num)
    epochs_per_pass = len(prompts.prompts) // num
    number, position = divmod(epoch - 1, epochs_per_pass)
    rng = np.random.default_rng([seed, Stream.PROMPT_ORDER, number])
    order = rng.permutation(len(prompts.prompts))[position * num : (position + 1) * num]
    return tuple(prompts.prompts[i] for i in order)


def check_enough(prompts: PromptSet, num: int) -> None:
    """Refuse a set too small for an epoch: the same prompt twice would be the same images twice."""
    if len(prompts.prompts) < num:
        raise UserError(
            f"prompts.prompts_per_epoch={num} but {prompts.source} holds {len(prompts.prompts)} prompts: "
            f"lower it to at most {len(prompts.prompts)}, or draw more images of each (sampling.images_per_prompt)"
        )


def samples_of(prompts: tuple[Prompt, ...], images_per_prompt: int) -> tuple[Sample, ...]:
    """B = N K samples, the K images of a prompt beside each other."""
    pairs = ((prompt, k) for prompt in prompts for k in range(images_per_prompt))
    return tuple(Sample(index, prompt, k) for index, (prompt, k) in enumerate(pairs))


def _path(source: str) -> Path:
    if not source.startswith(_BUILT_IN):
        return Path(source)
    folder = Path(__file__).parent / "shapes" / "prompts"
    path = folder / f"{source.removeprefix(_BUILT_IN)}.jsonl"
    if not path.is_file():
        known = ", ".join(sorted(f"{_BUILT_IN}{p.stem}" for p in folder.glob("*.jsonl")))
        raise UserError(f"no built-in prompt set {source!r}; choose from {known}")
    return path


def _text(path: Path) -> str:
    try:
        size = path.stat().st_size
        if size > MAX_FILE_BYTES:
            raise UserError(f"prompt set {path} has {size} bytes; at most {MAX_FILE_BYTES} are read")
        raw = path.read_bytes()
    except FileNotFoundError:
        raise UserError(f"prompt set {path} does not exist; give a JSON Lines or text file, or shapes:train") from None
    except OSError as error:
        raise UserError(f"prompt set {path} cannot be read: {error.strerror}") from None
    try:
        text = raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = raw.count(b"\n", 0, error.start) + 1
        given = f"byte 0x{raw[error.start]:02x} at offset {error.start}"
        raise UserError(f"prompt set {path}:{line} is not UTF-8 ({given}); save the file as UTF-8") from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def _prompt(line: str, *, is_json: bool, where: str) -> Prompt | None:
    fields = _fields(line, where) if is_json and line else {"prompt": line}
    text = unicodedata.normalize("NFC", fields["prompt"]).strip()
    if "\0" in text:
        raise UserError(f"{where} holds a NUL character; a prompt is plain text")
    if len(text) > MAX_PROMPT_CHARACTERS:
        raise UserError(f"{where} has {len(text)} characters; a prompt has at most {MAX_PROMPT_CHARACTERS}")
    if not text:
        return None
    prompt_id = fields.get("id") or sha256(text.encode("utf-8")).hexdigest()[:16]
    return Prompt(prompt_id, text, fields.get("category", ""), fields.get("split", ""))


def _fields(line: str, where: str) -> dict[str, str]:
    try:
        record = json.loads(line)
    except json.JSONDecodeError as error:
        raise UserError(f'{where} is no JSON object: {error.msg}; a line reads {{"prompt": "..."}}') from None
    if not isinstance(record, dict) or not isinstance(record.get("prompt"), str):
        raise UserError(f"{where} must be a JSON object with a text field `prompt`, got {line[:80]}")
    known = ("prompt", "id", "category", "split")
    fields = {key: str(record[key]) for key in known if record.get(key) is not None}
    if any(0xD800 <= ord(c) <= 0xDFFF for value in fields.values() for c in value):
        raise UserError(f"{where} holds a lone surrogate, which is no character; save the file as UTF-8")
    return fields


def _refuse_repeated_ids(prompts: list[Prompt], path: Path) -> None:
    seen: dict[str, str] = {}
    for prompt in prompts:
        if prompt.id in seen:
            raise UserError(f"prompt set {path}: id {prompt.id!r} stands for {seen[prompt.id]!r} and {prompt.text!r}")
        seen[prompt.id] = prompt.text


def _digest(prompts: list[Prompt]) -> str:
    def lines() -> Iterator[bytes]:
        for p in prompts:
            yield json.dumps([p.id, p.text, p.category, p.split]).encode() + b"\n"

    digest = sha256()
    for line in lines():
        digest.update(line)
    return digest.hexdigest()
