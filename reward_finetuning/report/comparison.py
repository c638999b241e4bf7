"""Is the policy after better than the policy before, and on what is it worse?"""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.statistics.intervals import Interval, paired_difference, win_rate
from reward_finetuning.report.statistics.pairing import pair
from reward_finetuning.report.wording import (
    category_name,
    decimals,
    number,
    policy_names,
    share,
    shortened,
    signed,
    verdict,
)

Scores = tuple[NDArray[np.float64], NDArray[np.float64]]
"""One reward of the same images before [S] and after [S]."""

Direction = Literal["better", "worse", "unsure", ""]
"""A finding; empty where neither more nor less is better."""

DIVERSITY, CLIP_DIVERSITY, KL = MEASURES = ("diversity", "clip_diversity", "kl")
"""What stands beside the rewards: report/statistics/diversity.py, and `EvaluatedSamples.kl`, summed over the steps."""

CONFIDENCE = 0.95
FEWEST_SURE_IMAGES = 6
"""With fewer pairs even unanimous ones come up by chance more often than 5 % (two-sided sign test: 2 / 2^5 = 6 %)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One reward, or another measure, on one prompt set or on one category of it."""

    prompt_set: str
    category: str | None
    """None: the whole prompt set."""

    reward: str
    before: float
    """Mean over images, in units of the reward."""

    after: float
    gain: Interval
    """after - before, image by image."""

    win_rate: float
    """Share of pairs in which the image after has the higher reward, in [0, 1]; of prompts, for diversity; else NaN."""

    @property
    def direction(self) -> Direction:
        """Better or worse when the whole interval lies on one side of zero, and it rests on enough pairs."""
        if self.reward == KL:
            return ""
        if self.gain.num_images < FEWEST_SURE_IMAGES or self.gain.low <= 0 <= self.gain.high:
            return "unsure"
        return "better" if self.gain.mean > 0 else "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two policies on the same prompts and the same noise."""

    before: str
    """How to call the policy before: "pretrained" or "epoch 10", with a digest where both are of one epoch."""

    after: str
    rows: tuple[Row, ...]
    """Prompt sets in the order given; in each the whole set first, then its categories; the combined reward first, and
    what is no reward last."""

    verdict: str
    """One sentence on the whole prompt sets."""


def compare(before: EvaluatedSamples, after: EvaluatedSamples) -> Comparison:
    """Compare two policies image by image.

    Raises:
        ValueError: the two do not hold the same images, prompts or reward columns; it says what differs.
    """
    order = pair(before, after)
    paired = {name: (before.rewards[name], after.rewards[name][order]) for name in reward_columns(before)}
    measured = [name for name in MEASURES if name in before.measures and name in after.measures]
    paired |= {name: (before.measures[name], after.measures[name][order]) for name in measured}
    prompt_ids, sets, categories = map(np.asarray, (before.prompt_ids, before.prompt_sets, before.categories))
    rows: list[Row] = []
    for prompt_set in dict.fromkeys(before.prompt_sets):
        inside = sets == prompt_set
        rows += _rows(paired, prompt_ids, inside, (prompt_set, None))
        names = sorted(set(categories[inside].tolist()))
        for category in names if len(names) > 1 else ():
            rows += _rows(paired, prompt_ids, inside & (categories == category), (prompt_set, category))
    name_before, name_after = policy_names((before.epoch, before.policy), (after.epoch, after.policy))
    return Comparison(name_before, name_after, tuple(rows), verdict(name_after, name_before, judged(rows)))


def judged(rows: Iterable[Row]) -> list[tuple[str, str, str]]:
    """(reward, prompt set, finding) of whole prompt sets, as `verdict` wants them."""
    return [(row.reward, row.prompt_set, row.direction) for row in rows if row.category is None and row.direction]


def reward_columns(samples: EvaluatedSamples) -> list[str]:
    """The combined reward, then the scorers by name."""
    return sorted(samples.rewards, key=lambda column: (column != "reward", column))


def as_metrics(comparison: Comparison) -> dict[str, float]:
    """Flat names for MLflow and metrics.json: `eval/<set>[/category/<category>]/<reward>/{before,mean,gain,...}`.

    A bound that is infinite is left out: JSON and MLflow's stores know no infinity.
    """
    metrics: dict[str, float] = {}
    for row in comparison.rows:
        values = {
            "before": row.before,
            "mean": row.after,
            "gain": row.gain.mean,
            "gain_low": row.gain.low,
            "gain_high": row.gain.high,
            "win_rate": row.win_rate,
        }
        metrics |= {metric_name(row, key): value for key, value in values.items() if math.isfinite(value)}
    return metrics


def metric_name(row: Row, part: str) -> str:
    """What `as_metrics` calls a part of a row, such as "gain_low"."""
    inside = [] if row.category is None else ["category", segment(row.category)]
    return "/".join(["eval", segment(row.prompt_set), *inside, segment(row.reward), part])


def as_table(comparison: Comparison) -> list[tuple[str, ...]]:
    """The rows for a terminal, the heading first."""
    heading = ("prompt set", "category", "reward", "before", "after", "change", "95 % interval", "wins", "finding")
    places = reward_decimals(comparison)
    return [heading, *(_cells(row, places[row.reward]) for row in comparison.rows)]


def reward_decimals(comparison: Comparison) -> dict[str, int]:
    """How many decimals each reward deserves: as fine as its surest whole prompt set."""
    widths: dict[str, list[float]] = {}
    for row in comparison.rows:
        if row.category is None:
            widths.setdefault(row.reward, []).append((row.gain.high - row.gain.low) / 2)
    return {reward: decimals(min(found)) for reward, found in widths.items()}


def _cells(row: Row, places: int) -> tuple[str, ...]:
    return (
        shortened(row.prompt_set, 40),
        "" if row.category is None else category_name(row.category),
        row.reward,
        number(row.before, places),
        number(row.after, places),
        signed(row.gain.mean, places),
        f"{signed(row.gain.low, places)} to {signed(row.gain.high, places)}",
        share(row.win_rate),
        row.direction,
    )


def segment(name: str) -> str:
    """A name as part of an MLflow key; one that had to be changed carries a digest, so that no two fall together."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,63}", name):
        return name
    return f"{re.sub('[^A-Za-z0-9_ -]', '_', name)[:40]}-{sha256(name.encode(errors='replace')).hexdigest()[:8]}"


def _rows(
    paired: Mapping[str, Scores], prompt_ids: NDArray[np.str_], inside: NDArray[np.bool_], names: tuple[str, str | None]
) -> list[Row]:
    """One row for each reward over the images `inside` [S]; `names` are the prompt set and the category."""
    rows = []
    for column, (before, after) in paired.items():
        old, new, ids = before[inside], after[inside], prompt_ids[inside]
        wins = math.nan if column == KL else win_rate(old, new)
        if column in {DIVERSITY, CLIP_DIVERSITY}:
            by_prompt = _by_prompt(old, ids), _by_prompt(new, ids)
            wins = win_rate(*by_prompt)
            if len(old) == 2 * len(by_prompt[0]):  # two images have one distance, and no spread of their own
                old, new, ids = *by_prompt, np.unique(ids)
        gain = paired_difference(old, new, ids.tolist(), confidence=CONFIDENCE)
        rows.append(Row(*names, column, float(old.mean()), float(new.mean()), gain, wins))
    return rows


def _by_prompt(values: NDArray[np.float64], prompt_ids: NDArray[np.str_]) -> NDArray[np.float64]:
    """Means over the images of each prompt, by prompt id."""
    _, prompt = np.unique(prompt_ids, return_inverse=True)
    means: NDArray[np.float64] = np.bincount(prompt, weights=values) / np.bincount(prompt)
    return means
