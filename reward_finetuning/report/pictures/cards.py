"""One pair of pictures with its prompt and rewards, for the templates."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from hashlib import sha256

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import reward_columns
from reward_finetuning.report.formatting import category_name, number, shortened, signed
from reward_finetuning.report.pictures.picture import Picture, embed

LONGEST_PROMPT = 10_000
"""Characters."""

MARKUP_BYTES = 1_000
"""Size of the markup of one pair without pictures, prompt and rewards, rounded up."""


@dataclass(frozen=True, slots=True)
class Score:
    """One reward of a pair, as text."""

    reward: str
    before: str
    after: str
    change: str


@dataclass(frozen=True, slots=True)
class Card:
    """One pair, for the template."""

    name: str
    """Name of the pair, equal in every report. Full-size pictures are `<name>-before.png` and `<name>-after.png`."""

    gain: float
    """Change of the combined reward."""

    prompt: str
    prompt_set: str
    category: str
    image_index: int
    before: Picture
    after: Picture
    scores: tuple[Score, ...]
    """The combined reward first."""


def card_of(
    before: EvaluatedSamples, after: EvaluatedSamples, row: int, row_after: int, places: dict[str, int]
) -> Card:
    """The card of a pair.

    Args:
        before: images before.
        after: images after.
        row: the pair's row in `before`.
        row_after: its row in `after`.
        places: number of decimals of each reward.
    """
    return Card(
        name=_name(before, row),
        gain=float(after.rewards["reward"][row_after] - before.rewards["reward"][row]),
        prompt=_prompt(before.prompts[row]),
        prompt_set=shortened(before.prompt_sets[row], 60),
        category=category_name(before.categories[row]),
        image_index=before.image_indices[row],
        before=embed(before.images[row]),
        after=embed(after.images[row_after]),
        scores=tuple(
            _score(column, before.rewards[column][row], after.rewards[column][row_after], places[column])
            for column in reward_columns(before)
        ),
    )


def fitting(cards: Iterable[tuple[int, Card]], num_bytes: int) -> Iterator[tuple[int, Card]]:
    """The first (row, card) that fit into `num_bytes` together."""
    for row, card in cards:
        num_bytes -= _size(card)
        if num_bytes < 0:
            return
        yield row, card


def full_size(card: Card, before: NDArray[np.uint8], after: NDArray[np.uint8]) -> dict[str, NDArray[np.uint8]]:
    """File name -> [H, W, 3], of the pictures that the card shows reduced or with lossy compression."""
    sides = (("before", card.before, before), ("after", card.after, after))
    return {f"{card.name}-{side}.png": image for side, shown, image in sides if not shown.exact}


def _name(samples: EvaluatedSamples, row: int) -> str:
    key = (samples.prompt_sets[row], samples.prompt_ids[row], samples.image_indices[row])
    return sha256(repr(key).encode(errors="replace")).hexdigest()[:12]


def _prompt(text: str) -> str:
    missing = len(text) - LONGEST_PROMPT
    return shortened(text, LONGEST_PROMPT) + (f" ({missing:,} more characters)" if missing > 0 else "")


def _score(reward: str, before: float, after: float, places: int) -> Score:
    return Score(reward, number(before, places), number(after, places), signed(after - before, places))


def _size(card: Card) -> int:
    """Upper bound of the bytes of a card: an escaped character has at most five bytes, as in `&#34;`."""
    text = len(card.prompt.encode()) + 4 * sum(card.prompt.count(sign) for sign in "&<>\"'")
    return len(card.before.uri) + len(card.after.uri) + text + MARKUP_BYTES + 200 * len(card.scores)
