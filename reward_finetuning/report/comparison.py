"""Comparison of two policies, image by image, with intervals and findings."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.formatting import (
    category_name,
    change_and_bounds,
    decimals,
    number,
    policy_names,
    share,
    shortened,
    verdict,
)
from reward_finetuning.report.statistics.intervals import Interval, paired_difference, win_rate
from reward_finetuning.report.statistics.pairing import pair

Scores = tuple[NDArray[np.float64], NDArray[np.float64]]
"""One reward of the same images: before [S], after [S]."""

Direction = Literal["better", "worse", "unsure", ""]
"""A finding; empty for a measure for which neither more nor less is better."""

DIVERSITY, CLIP_DIVERSITY, KL = MEASURES = ("diversity", "clip_diversity", "kl")
"""Measures that are not rewards: report/statistics/diversity.py, and `EvaluatedSamples.kl` summed over the steps."""

CONFIDENCE = 0.95
MIN_PAIRS = 6
"""With fewer pairs, even equal signs of all differences have a probability above 5 % (two-sided sign test: 2 / 2^5)."""


@dataclass(frozen=True, slots=True)
class Row:
    """One reward or measure on a prompt set, or on a category of a prompt set."""

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
    """Share of pairs with a higher reward after, in [0, 1]; for diversity the share of prompts; NaN for the KL."""

    @property
    def direction(self) -> Direction:
        """Better or worse if the interval excludes zero and there are at least MIN_PAIRS pairs."""
        if self.reward == KL:
            return ""
        if self.gain.num_images < MIN_PAIRS or self.gain.low <= 0 <= self.gain.high:
            return "unsure"
        return "better" if self.gain.mean > 0 else "worse"


@dataclass(frozen=True, slots=True)
class Comparison:
    """Two policies on the same prompts and the same noise."""

    before: str
    """Name of the policy before: "pretrained" or "epoch 10", with a digest if both policies have the same epoch."""

    after: str
    rows: tuple[Row, ...]
    """Prompt sets in input order, each with the whole set before its categories; the combined reward first, measures
    last."""

    verdict: str
    """One sentence on the whole prompt sets."""


def compare(before: EvaluatedSamples, after: EvaluatedSamples) -> Comparison:
    """Compare two policies image by image.

    Raises:
        ValueError: images, prompts or reward columns differ; the message names the difference.
    """
    order = pair(before, after)
    paired = {name: (before.rewards[name], after.rewards[name][order]) for name in reward_columns(before)}
    measured = [name for name in MEASURES if name in before.measures and name in after.measures]
    paired |= {name: (before.measures[name], after.measures[name][order]) for name in measured}
    prompt_ids, sets, categories = map(np.asarray, (before.prompt_ids, before.prompt_sets, before.categories))
    rows: list[Row] = []
    for prompt_set in dict.fromkeys(before.prompt_sets):
        in_set = sets == prompt_set
        rows += _rows(paired, prompt_ids, in_set, (prompt_set, None))
        names = sorted(set(categories[in_set].tolist()))
        for category in names if len(names) > 1 else ():
            rows += _rows(paired, prompt_ids, in_set & (categories == category), (prompt_set, category))
    name_before, name_after = policy_names((before.epoch, before.policy), (after.epoch, after.policy))
    return Comparison(name_before, name_after, tuple(rows), verdict(name_after, name_before, findings(rows)))


def findings(rows: Iterable[Row]) -> list[tuple[str, str, str]]:
    """(reward, prompt set, finding) of whole prompt sets, the input of `verdict`."""
    return [(row.reward, row.prompt_set, row.direction) for row in rows if row.category is None and row.direction]


def reward_columns(samples: EvaluatedSamples) -> list[str]:
    """The combined reward, then the scorers by name."""
    return sorted(samples.rewards, key=lambda column: (column != "reward", column))


def as_metrics(comparison: Comparison) -> dict[str, float]:
    """Flat names for MLflow and metrics.json: `eval/<set>[/category/<category>]/<reward>/{before,mean,gain,...}`.

    Infinite bounds are omitted, because JSON and MLflow do not support them.
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
    """Metric name of a part of a row, such as "gain_low"."""
    return metric_key(row.prompt_set, row.reward, part, category=row.category)


def metric_key(prompt_set: str, reward: str, part: str, *, category: str | None = None) -> str:
    """Metric name of a part of a reward on a prompt set, or on a category of the set."""
    path = [] if category is None else ["category", segment(category)]
    return "/".join(["eval", segment(prompt_set), *path, segment(reward), part])


def as_table(comparison: Comparison) -> list[tuple[str, ...]]:
    """The rows as text for a terminal, after a heading."""
    heading = ("prompt set", "category", "reward", "before", "after", "change", "95 % interval", "wins", "finding")
    places = reward_decimals(comparison)
    return [heading, *(_cells(row, places[row.reward]) for row in comparison.rows)]


def reward_decimals(comparison: Comparison) -> dict[str, int]:
    """Number of decimals of each reward, from its narrowest interval over whole prompt sets."""
    widths: dict[str, list[float]] = {}
    for row in comparison.rows:
        if row.category is None:
            widths.setdefault(row.reward, []).append((row.gain.high - row.gain.low) / 2)
    return {reward: decimals(min(half_widths)) for reward, half_widths in widths.items()}


def _cells(row: Row, places: int) -> tuple[str, ...]:
    change, low, high = change_and_bounds(row.gain.mean, row.gain.low, row.gain.high, places)
    return (
        shortened(row.prompt_set, 40),
        "" if row.category is None else category_name(row.category),
        row.reward,
        number(row.before, places),
        number(row.after, places),
        change,
        f"{low} to {high}",
        share(row.win_rate),
        row.direction,
    )


def segment(name: str) -> str:
    """A name as part of an MLflow key. A name that must be changed gets a digest, so that keys stay unique."""
    if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_. -]{0,63}", name):
        return name
    return f"{re.sub('[^A-Za-z0-9_ -]', '_', name)[:40]}-{sha256(name.encode(errors='replace')).hexdigest()[:8]}"


def _rows(
    paired: Mapping[str, Scores], prompt_ids: NDArray[np.str_], mask: NDArray[np.bool_], names: tuple[str, str | None]
) -> list[Row]:
    """One row per reward over the images of `mask` [S]; `names` are the prompt set and the category."""
    rows = []
    for column, (before, after) in paired.items():
        old, new, ids = before[mask], after[mask], prompt_ids[mask]
        wins = math.nan if column == KL else win_rate(old, new)
        if column in {DIVERSITY, CLIP_DIVERSITY}:
            by_prompt = _by_prompt(old, ids), _by_prompt(new, ids)
            wins = win_rate(*by_prompt)
            if len(old) == 2 * len(by_prompt[0]):  # with two images per prompt, both have the same distance
                old, new, ids = *by_prompt, np.unique(ids)
        gain = paired_difference(old, new, ids.tolist(), confidence=CONFIDENCE)
        rows.append(Row(*names, column, float(old.mean()), float(new.mean()), gain, wins))
    return rows


def _by_prompt(values: NDArray[np.float64], prompt_ids: NDArray[np.str_]) -> NDArray[np.float64]:
    """Mean over the images of each prompt, in order of prompt ids."""
    _, prompt = np.unique(prompt_ids, return_inverse=True)
    means: NDArray[np.float64] = np.bincount(prompt, weights=values) / np.bincount(prompt)
    return means
