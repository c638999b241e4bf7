"""The first pictures of the page: typical pairs, then the worst regressions."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import Comparison, reward_decimals
from reward_finetuning.report.formatting import signed
from reward_finetuning.report.pictures.cards import Card, card_of, fitting, full_size
from reward_finetuning.report.pictures.gallery import ranked
from reward_finetuning.report.statistics.pairing import pair

MOST_CARDS = 6
"""Per reel."""


@dataclass(frozen=True, slots=True)
class Reel:
    """A row of pairs, for the template."""

    name: str
    """Unique on the page."""

    title: str
    rule: str
    """How its pairs were chosen."""

    cards: tuple[Card, ...]
    full: dict[str, NDArray[np.uint8]]
    """File name -> [H, W, 3], see `Gallery.full`."""


def reels(comparison: Comparison, before: EvaluatedSamples, after: EvaluatedSamples, *, num_bytes: int) -> list[Reel]:
    """Typical pairs, then the worst regressions if there are any; each with pairs for half of `num_bytes`."""
    order = pair(before, after)
    gains = after.rewards["reward"][order] - before.rewards["reward"]
    places = reward_decimals(comparison)

    def reel(name: str, title: str, rule: str, rows: Iterable[int]) -> Reel:
        every = ((row, card_of(before, after, row, int(order[row]), places)) for row in rows)
        chosen = list(fitting(every, num_bytes // 2))
        full: dict[str, NDArray[np.uint8]] = {}
        for row, card in chosen:
            full |= full_size(card, before.images[row], after.images[order[row]])
        return Reel(name, title, rule, tuple(card for _, card in chosen), full)

    rows, median = typical(before, gains)
    worst = ranked(before, gains)[0][:MOST_CARDS]
    made = [
        reel(
            "typical",
            "Typical pairs",
            "The prompts whose mean change is nearest to the median of all prompts "
            f"({signed(median, places['reward'])}). "
            "Of each prompt, the image whose change is nearest to the mean of the prompt. Below: the combined reward.",
            rows,
        ),
        reel("worst", "Worst regressions", "The pairs whose combined reward fell most, the largest fall first.", worst),
    ]
    return [each for each in made if each.cards]


def typical(samples: EvaluatedSamples, gains: NDArray[np.float64]) -> tuple[list[int], float]:
    """One row of each of the MOST_CARDS most typical prompts, the most typical first; ties in order of keys.

    Args:
        samples: images of S pairs.
        gains: [S] change of the combined reward.

    Returns:
        The rows, and the median over prompts of the prompt's mean change.
    """
    by_prompt: dict[tuple[str, str], list[int]] = {}
    for row, key in enumerate(zip(samples.prompt_sets, samples.prompt_ids, strict=True)):
        by_prompt.setdefault(key, []).append(row)
    means = {key: float(np.mean(np.sort(gains[rows]))) for key, rows in by_prompt.items()}
    median = float(np.median(list(means.values())))
    nearest = sorted(by_prompt, key=lambda key: (abs(means[key] - median), key))[:MOST_CARDS]
    rows = [
        min(by_prompt[key], key=lambda row: (abs(gains[row] - means[key]), samples.image_indices[row]))
        for key in nearest
    ]
    return rows, median
