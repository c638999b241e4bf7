"""The table of findings as a page shows it."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from reward_finetuning.report.comparison import MEASURES, Comparison, Row, reward_decimals
from reward_finetuning.report.statistics.intervals import FEWEST_PROMPTS, Interval
from reward_finetuning.report.wording import category_name, number, share, shortened, signed


@dataclass(frozen=True, slots=True)
class Line:
    """One row of the table as the template needs it."""

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
    """Low, mean and high in per cent of the drawing's width, 50 being no change."""


@dataclass(frozen=True, slots=True)
class Section:
    """One prompt set as the template needs it."""

    name: str
    size: str
    caution: str
    """What the intervals do not speak of; empty when there is nothing to warn of."""

    lines: tuple[Line, ...]
    categories: tuple[tuple[str, tuple[Line, ...]], ...]
    category_note: str


def sections(comparison: Comparison) -> list[Section]:
    """The rows of a comparison by prompt set, in words and drawn."""
    scales = _scales(comparison.rows)
    places = reward_decimals(comparison)
    found = []
    for name, group in groupby(comparison.rows, key=lambda row: row.prompt_set):
        rows = list(group)
        whole = [row for row in rows if row.category is None]
        inside = [row for row in rows if row.category is not None]
        gain = whole[0].gain
        found.append(
            Section(
                name=shortened(name, 80),
                size=f"{counted(gain.num_prompts, 'prompt')}, {counted(gain.num_images, 'pair')}",
                caution=_caution(gain),
                lines=tuple(_line(row, scales, places) for row in whole),
                categories=tuple(
                    (category_name(category), tuple(_line(row, scales, places) for row in lines))
                    for category, lines in groupby(inside, key=lambda row: row.category or "")
                ),
                category_note=_category_note(inside),
            )
        )
    return found


def cautions(rows: Iterable[Row]) -> dict[str, str]:
    """Prompt set -> what its intervals do not speak of; those where there is nothing to warn of are left out."""
    whole = {row.prompt_set: _caution(row.gain) for row in rows if row.category is None and row.reward not in MEASURES}
    return {shortened(name, 60): said for name, said in whole.items() if said}


def _line(row: Row, scales: Mapping[str, float], places: Mapping[str, int]) -> Line:
    digits, gain = places[row.reward], row.gain
    low, mean, high = (_position(bound, scales[row.reward]) for bound in (gain.low, gain.mean, gain.high))
    return Line(
        label=shortened(row.reward, 60),
        emphasised=row.reward == "reward",
        before=number(row.before, digits),
        after=number(row.after, digits),
        change=signed(gain.mean, digits),
        low=signed(gain.low, digits),
        high=signed(gain.high, digits),
        wins=share(row.win_rate),
        direction=row.direction,
        whisker=(low, mean, high),
    )


def _scales(rows: Sequence[Row]) -> dict[str, float]:
    """For each reward the change at the edge of its drawings: one scale, so that prompt sets can be compared by eye.

    Whole prompt sets decide; a category whose interval is wider runs over the edge.
    """
    scales: dict[str, float] = {}
    for row in rows:
        if row.category is None:
            bounds = [abs(bound) for bound in (row.gain.low, row.gain.mean, row.gain.high) if abs(bound) < float("inf")]
            scales[row.reward] = max(scales.get(row.reward, 0.0), *bounds)
    return scales


def _position(value: float, scale: float) -> float:
    """Where a change lies, in per cent of the width; a sixth is left free on either side for categories."""
    if not scale:
        return 50.0
    return round(min(100.0, max(0.0, 50 + value / scale * 33)), 2)


def _caution(gain: Interval) -> str:
    if gain.unit == "prompts":
        return ""
    return (
        f"{counted(gain.num_prompts, 'prompt')} cannot speak for prompts that were not drawn ({FEWEST_PROMPTS} can): "
        "these intervals are about new images of the same prompts."
    )


def _category_note(rows: Sequence[Row]) -> str:
    note = f"Each interval misses the truth one time in twenty; there are {len(rows)} of them."
    if any(row.gain.unit == "images" for row in rows):
        note += f" In a category of fewer than {FEWEST_PROMPTS} prompts they are about new images of the same prompts."
    return note


def counted(count: int, what: str) -> str:
    """Such as "1 prompt" and "1,024 prompts"."""
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
