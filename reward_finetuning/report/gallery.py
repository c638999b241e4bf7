"""Selection and order of the pairs of pictures on the page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import sha256
from itertools import chain, islice, zip_longest

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import Comparison, reward_columns, reward_decimals
from reward_finetuning.report.formatting import category_name, number, shortened, signed
from reward_finetuning.report.pictures import Picture, embed
from reward_finetuning.report.statistics.pairing import pair

MAX_PAIRS = 240
"""Maximum number of pairs on a page."""

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


@dataclass(frozen=True, slots=True)
class Gallery:
    """The counts of all pairs, and the cards of those that fit."""

    cards: tuple[Card, ...]
    """The worst regression first, the largest gain last."""

    worse: int
    better: int
    same: int

    full: dict[str, NDArray[np.uint8]]
    """File name -> [H, W, 3], for pictures that the page shows reduced or with lossy compression."""

    @property
    def total(self) -> int:
        """Number of all pairs."""
        return self.worse + self.better + self.same


def gallery(comparison: Comparison, before: EvaluatedSamples, after: EvaluatedSamples, *, num_bytes: int) -> Gallery:
    """The pairs that fit into `num_bytes`, selected in this order: worst, best, second worst, ..., unchanged."""
    order = pair(before, after)
    gains = after.rewards["reward"][order] - before.rewards["reward"]
    worse, better, same = _ranked(before, gains)
    places = reward_decimals(comparison)
    priority = chain(_alternating(worse, better), same)
    cards = dict(_fitting(((row, _card(before, after, row, int(order[row]), places)) for row in priority), num_bytes))
    rows = [row for row in (*worse, *same, *reversed(better)) if row in cards]
    full: dict[str, NDArray[np.uint8]] = {}
    for row in rows:
        card = cards[row]
        full |= {} if card.before.exact else {f"{card.name}-before.png": before.images[row]}
        full |= {} if card.after.exact else {f"{card.name}-after.png": after.images[order[row]]}
    return Gallery(tuple(cards[row] for row in rows), len(worse), len(better), len(same), full)


def _ranked(before: EvaluatedSamples, gains: NDArray[np.float64]) -> tuple[list[int], list[int], list[int]]:
    """Rows that became worse, became better, and did not change; the largest change first, ties in order of keys."""
    keys = list(zip(before.prompt_sets, before.prompt_ids, before.image_indices, strict=True))
    rows = sorted(range(len(keys)), key=lambda row: (-abs(gains[row]), keys[row]))
    sides = np.sign(gains)
    worse, better, same = ([row for row in rows if sides[row] == side] for side in (-1, 1, 0))
    return worse, better, same


def _alternating(first: Sequence[int], second: Sequence[int]) -> Iterator[int]:
    return (row for both in zip_longest(first, second) for row in both if row is not None)


def _fitting(cards: Iterator[tuple[int, Card]], num_bytes: int) -> Iterator[tuple[int, Card]]:
    for row, card in islice(cards, MAX_PAIRS):
        num_bytes -= _size(card)
        if num_bytes < 0:
            return
        yield row, card


def _card(before: EvaluatedSamples, after: EvaluatedSamples, row: int, row_after: int, places: dict[str, int]) -> Card:
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
