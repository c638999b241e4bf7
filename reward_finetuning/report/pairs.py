"""The pairs of pictures on the page: which ones, in what order, and how many fit."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import Comparison, reward_columns, reward_decimals
from reward_finetuning.report.pairing import pair
from reward_finetuning.report.pictures import Picture, embed
from reward_finetuning.report.wording import category_name, number, shortened, signed

MOST_PAIRS = 240
"""More than anyone looks through."""

LONGEST_PROMPT = 10_000
"""Characters."""

MARKUP_BYTES = 1_000
"""What one pair takes besides its pictures, its prompt and its rewards, rounded up."""


@dataclass(frozen=True, slots=True)
class Score:
    """One reward of a pair, in words."""

    reward: str
    before: str
    after: str
    change: str


@dataclass(frozen=True, slots=True)
class Card:
    """One pair as the template needs it."""

    prompt: str
    prompt_set: str
    category: str
    image_index: int
    before: Picture
    after: Picture
    scores: tuple[Score, ...]
    """The combined reward first."""


@dataclass(frozen=True, slots=True)
class Group:
    """Pairs that went the same way."""

    title: str
    total: int
    """How many there are; no more than fit are in `cards`."""

    cards: tuple[Card, ...]


def grouped_pairs(
    comparison: Comparison, before: EvaluatedSamples, after: EvaluatedSamples, *, num_bytes: int
) -> list[Group]:
    """Worse pairs, the worst first; then better ones, the best first; then unchanged ones.

    Where not all fit into `num_bytes`, the worst, the best, the second worst, ... are taken, and unchanged ones last.
    """
    order = pair(before, after)
    gains = after.rewards["reward"][order] - before.rewards["reward"]
    ranks = _ranked(before, gains)
    places = reward_decimals(comparison)
    wanted = chain(_alternating(*ranks[:2]), ranks[2])
    kept = dict(_fitting(((row, _card(before, after, row, int(order[row]), places)) for row in wanted), num_bytes))
    titles = ("Got worse", "Got better", "Did not change")
    return [
        Group(title, len(rank), tuple(kept[row] for row in rank if row in kept))
        for title, rank in zip(titles, ranks, strict=True)
        if rank
    ]


def _ranked(before: EvaluatedSamples, gains: NDArray[np.float64]) -> tuple[list[int], list[int], list[int]]:
    """Rows that got worse, got better and did not change, the largest change first; ties in the order of their keys."""
    keys = list(zip(before.prompt_sets, before.prompt_ids, before.image_indices, strict=True))
    rows = sorted(range(len(keys)), key=lambda row: (-abs(gains[row]), keys[row]))
    sides = np.sign(gains)
    worse, better, same = ([row for row in rows if sides[row] == side] for side in (-1, 1, 0))
    return worse, better, same


def _alternating(first: Sequence[int], second: Sequence[int]) -> Iterator[int]:
    return (row for both in zip_longest(first, second) for row in both if row is not None)


def _fitting(cards: Iterator[tuple[int, Card]], num_bytes: int) -> Iterator[tuple[int, Card]]:
    for row, card in islice(cards, MOST_PAIRS):
        num_bytes -= _size(card)
        if num_bytes < 0:
            return
        yield row, card


def _card(before: EvaluatedSamples, after: EvaluatedSamples, row: int, row_after: int, places: dict[str, int]) -> Card:
    return Card(
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


def _prompt(text: str) -> str:
    missing = len(text) - LONGEST_PROMPT
    return shortened(text, LONGEST_PROMPT) + (f" ({missing:,} more characters)" if missing > 0 else "")


def _score(reward: str, before: float, after: float, places: int) -> Score:
    return Score(reward, number(before, places), number(after, places), signed(after - before, places))


def _size(card: Card) -> int:
    """Bytes of a card's markup, from above: an escaped character takes at most five bytes, as in `&#34;`."""
    text = len(card.prompt.encode()) + 4 * sum(card.prompt.count(sign) for sign in "&<>\"'")
    return len(card.before.uri) + len(card.after.uri) + text + MARKUP_BYTES + 200 * len(card.scores)
