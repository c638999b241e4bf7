"""Selection and order of the pairs of pictures on the page."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice, zip_longest

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import Comparison, reward_decimals
from reward_finetuning.report.pictures.cards import Card, card_of, fitting, full_size
from reward_finetuning.report.statistics.pairing import pair

MAX_PAIRS = 240
"""Maximum number of pairs on a page."""


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
    worse, better, same = ranked(before, gains)
    places = reward_decimals(comparison)
    priority = chain(_alternating(worse, better), same)
    every = ((row, card_of(before, after, row, int(order[row]), places)) for row in priority)
    cards = dict(fitting(islice(every, MAX_PAIRS), num_bytes))
    rows = [row for row in (*worse, *same, *reversed(better)) if row in cards]
    full: dict[str, NDArray[np.uint8]] = {}
    for row in rows:
        full |= full_size(cards[row], before.images[row], after.images[order[row]])
    return Gallery(tuple(cards[row] for row in rows), len(worse), len(better), len(same), full)


def ranked(before: EvaluatedSamples, gains: NDArray[np.float64]) -> tuple[list[int], list[int], list[int]]:
    """Rows that became worse, became better, and did not change; the largest change first, ties in order of keys."""
    keys = list(zip(before.prompt_sets, before.prompt_ids, before.image_indices, strict=True))
    rows = sorted(range(len(keys)), key=lambda row: (-abs(gains[row]), keys[row]))
    sides = np.sign(gains)
    worse, better, same = ([row for row in rows if sides[row] == side] for side in (-1, 1, 0))
    return worse, better, same


def _alternating(first: Sequence[int], second: Sequence[int]) -> Iterator[int]:
    return (row for both in zip_longest(first, second) for row in both if row is not None)
