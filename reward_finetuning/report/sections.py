"""The table of findings, for the page."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from reward_finetuning.report.comparison import MEASURES, Comparison, Row, reward_decimals
from reward_finetuning.report.formatting import category_name, change_and_bounds, number, share, shortened
from reward_finetuning.report.statistics.intervals import FEWEST_PROMPTS, Interval


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table, for the template."""

    label: str
    emphasised: bool
    before: str
    after: str
    change: str
    low: str
    high: str
    wins: str
    direction: str
    whisker: tuple[float, float, float]
    """Low, mean and high in per cent of the width of the drawing; 50 is no change."""


@dataclass(frozen=True, slots=True)
class Section:
    """One prompt set, for the template."""

    name: str
    size: str
    caution: str
    """Limitation of the intervals; empty if there is none."""

    lines: tuple[Line, ...]
    categories: tuple[tuple[str, tuple[Line, ...]], ...]
    category_note: str


def sections(comparison: Comparison) -> list[Section]:
    """The rows of a comparison by prompt set, as text and drawing coordinates."""
    scales = _scales(comparison.rows)
    places = reward_decimals(comparison)
    result = []
    for name, group in groupby(comparison.rows, key=lambda row: row.prompt_set):
        rows = list(group)
        whole = [row for row in rows if row.category is None]
        by_category = [row for row in rows if row.category is not None]
        gain = whole[0].gain
        result.append(
            Section(
                name=shortened(name, 80),
                size=f"{counted(gain.num_prompts, 'prompt')}, {counted(gain.num_images, 'pair')}",
                caution=_caution(gain),
                lines=tuple(_line(row, scales, places) for row in whole),
                categories=tuple(
                    (category_name(category), tuple(_line(row, scales, places) for row in lines))
                    for category, lines in groupby(by_category, key=lambda row: row.category or "")
                ),
                category_note=_category_note(by_category),
            )
        )
    return result


def cautions(rows: Iterable[Row]) -> dict[str, str]:
    """Prompt set -> limitation of its intervals, for prompt sets that have one."""
    texts = {row.prompt_set: _caution(row.gain) for row in rows if row.category is None and row.reward not in MEASURES}
    return {shortened(name, 60): text for name, text in texts.items() if text}


def _line(row: Row, scales: Mapping[str, float], places: Mapping[str, int]) -> Line:
    digits, gain = places[row.reward], row.gain
    change, shown_low, shown_high = change_and_bounds(gain.mean, gain.low, gain.high, digits)
    low, mean, high = (_position(bound, scales[row.reward]) for bound in (gain.low, gain.mean, gain.high))
    return Line(
        label=shortened(row.reward, 60),
        emphasised=row.reward == "reward",
        before=number(row.before, digits),
        after=number(row.after, digits),
        change=change,
        low=shown_low,
        high=shown_high,
        wins=share(row.win_rate),
        direction=row.direction,
        whisker=(low, mean, high),
    )


def _scales(rows: Sequence[Row]) -> dict[str, float]:
    """Reward -> change at the edge of its drawings. All prompt sets of a reward have the same scale.

    Whole prompt sets define the scale; wider intervals of categories are clipped.
    """
    scales: dict[str, float] = {}
    for row in rows:
        if row.category is None:
            bounds = [abs(bound) for bound in (row.gain.low, row.gain.mean, row.gain.high) if abs(bound) < float("inf")]
            scales[row.reward] = max(scales.get(row.reward, 0.0), *bounds)
    return scales


def _position(value: float, scale: float) -> float:
    """Position of a change in per cent of the width. One sixth on each side is reserved for categories."""
    if not scale:
        return 50.0
    return round(min(100.0, max(0.0, 50 + value / scale * 33)), 2)


def _caution(gain: Interval) -> str:
    if gain.unit == "prompts":
        return ""
    return (
        f"These intervals apply to new images of the same {counted(gain.num_prompts, 'prompt')}. "
        f"At least {FEWEST_PROMPTS} prompts are needed for intervals that apply to new prompts."
    )


def _category_note(rows: Sequence[Row]) -> str:
    note = f"On average, one of twenty intervals misses the true value. There are {len(rows)} intervals."
    if any(row.gain.unit == "images" for row in rows):
        note += f" In a category with fewer than {FEWEST_PROMPTS} prompts they apply to new images of the same prompts."
    return note


def counted(count: int, what: str) -> str:
    """For example "1 prompt" and "1,024 prompts"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
