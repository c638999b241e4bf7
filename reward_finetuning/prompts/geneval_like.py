"""Prompts in the format of GenEval (arXiv:2310.11513): six tasks on everyday objects, with our own nouns and wording.

What is held out is held out as a combination: of noun and colour, noun and number, or two nouns. Every noun, colour,
number and place also occurs in training prompts. `python -m reward_finetuning.prompts.geneval_like` writes the files.
"""

import json
from collections.abc import Callable, Iterator
from hashlib import sha256
from itertools import combinations, product
from pathlib import Path
from typing import Literal

FOLDER = Path(__file__).parent / "sets" / "geneval-like"

Split = Literal["train", "heldout"]

NOUNS = (
    "apple", "backpack", "banana", "bear", "bench", "bicycle", "bird", "boat", "book", "bottle", "bowl", "bus", "cake",
    "car", "carrot", "cat", "chair", "clock", "cow", "cup", "dog", "elephant", "fork", "giraffe", "guitar", "handbag",
    "horse", "keyboard", "kite", "lamp", "laptop", "pizza", "skateboard", "sofa", "spoon", "suitcase", "toothbrush",
    "truck", "umbrella", "zebra",
)  # fmt: skip
COLOURS = ("red", "orange", "yellow", "green", "blue", "purple", "pink", "brown", "black", "white")
NUMBERS = {2: "two", 3: "three", 4: "four"}
PLACES = ("to the left of", "to the right of", "above", "below")

_NUM_PROMPTS: dict[Split, int] = {"train": 96, "heldout": 24}
"""Most prompts of a task."""

_NOUN = {noun: number for number, noun in enumerate(NOUNS)}
_SPLITS: tuple[Split, ...] = ("train", "heldout")


def split_of_noun(noun: str) -> Split:
    """Where `a photo of a NOUN` belongs: a fifth of the nouns is held out from this task alone."""
    return _split(_NOUN[noun] % 5)


def split_of_colour(colour: str, noun: str) -> Split:
    """Each noun has two held-out colours, and each colour eight held-out nouns."""
    return _split((_NOUN[noun] + COLOURS.index(colour)) % 5)


def split_of_number(number: int, noun: str) -> Split:
    """Three nouns of four have a held-out number."""
    return _split((_NOUN[noun] + number) % 4)


def split_of_pair(one: str, other: str) -> Split:
    """A fifth of the pairs of nouns is held out, in either order."""
    return _split((_NOUN[one] + _NOUN[other]) % 5)


def files() -> dict[str, str]:
    """Name -> content of the prompt files."""
    return {
        f"{split}.jsonl": "".join(
            f"{json.dumps(record | {'split': split})}\n"
            for category, prompts in _TASKS.items()
            for record in _records(category, [text for text, its_split in prompts() if its_split == split], split)
        )
        for split in _SPLITS
    }


def _split(remainder: int) -> Split:
    return "train" if remainder else "heldout"


def _records(category: str, texts: list[str], split: Split) -> list[dict[str, str]]:
    """The prompts of a task that are kept: those whose digests are lowest, which mixes nouns, colours and places."""
    kept = sorted(texts, key=lambda text: sha256(text.encode()).digest())[: _NUM_PROMPTS[split]]
    key = category.replace(" ", "-")
    return [
        {"id": f"{key}-{split}-{number:03}", "prompt": text, "category": category} for number, text in enumerate(kept)
    ]


def _single() -> Iterator[tuple[str, Split]]:
    for noun in NOUNS:
        yield f"a photo of {_one(noun)}", split_of_noun(noun)


def _two() -> Iterator[tuple[str, Split]]:
    for one, other in combinations(NOUNS, 2):
        yield f"a photo of {_one(one)} and {_one(other)}", split_of_pair(one, other)


def _counting() -> Iterator[tuple[str, Split]]:
    for noun, (number, word) in product(NOUNS, NUMBERS.items()):
        yield f"a photo of {word} {_several(noun)}", split_of_number(number, noun)


def _colours() -> Iterator[tuple[str, Split]]:
    for noun, colour in product(NOUNS, COLOURS):
        yield f"a photo of {_one(f'{colour} {noun}')}", split_of_colour(colour, noun)


def _position() -> Iterator[tuple[str, Split]]:
    for one, other, place in product(NOUNS, NOUNS, PLACES):
        if one != other:
            yield f"a photo of {_one(one)} {place} {_one(other)}", split_of_pair(one, other)


def _binding() -> Iterator[tuple[str, Split]]:
    """Held out: two nouns, or a noun with its colour, that are held out."""
    for (one, first), (other, second) in combinations(product(NOUNS, COLOURS), 2):
        if one != other and first != second:
            parts = {split_of_pair(one, other), split_of_colour(first, one), split_of_colour(second, other)}
            text = f"a photo of {_one(f'{first} {one}')} and {_one(f'{second} {other}')}"
            yield text, "heldout" if "heldout" in parts else "train"


_TASKS: dict[str, Callable[[], Iterator[tuple[str, Split]]]] = {
    "single object": _single,
    "two objects": _two,
    "counting": _counting,
    "colours": _colours,
    "position": _position,
    "attribute binding": _binding,
}


def _one(name: str) -> str:
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def _several(noun: str) -> str:
    return f"{noun}{'es' if noun.endswith(('s', 'sh', 'ch')) else 's'}"


def main() -> None:
    """Write the prompt files."""
    FOLDER.mkdir(exist_ok=True)
    for name, content in files().items():
        (FOLDER / name).write_text(content, encoding="utf-8", newline="\n")


if __name__ == "__main__":
    main()
