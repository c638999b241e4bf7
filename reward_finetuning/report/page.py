"""The page on which people see whether the policy after is better, and on what it is worse.

One HTML file that needs no network and no storage, so that it works from disk and inside the sandboxed frames of
Kubeflow and MLflow. Prompts are untrusted: everything is escaped, and only the page's own script may run.
"""

from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import sha256
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined, Template
from markupsafe import Markup

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import Comparison, Row, reward_decimals
from reward_finetuning.report.curves import Points, draw_curves
from reward_finetuning.report.pairs import grouped_pairs
from reward_finetuning.report.stages import stages
from reward_finetuning.report.statistics import FEWEST_PROMPTS, Interval
from reward_finetuning.report.wording import category_name, number, shortened, signed

MOST_BYTES = 1_900_000
"""Kubeflow's page shows artifacts of up to about 2 MB."""

FIRST_PAIRS = 12
"""Pairs of a group that show before one asks for all."""

REWARDS_ABREAST = 4
"""Columns of a table by category; further rewards go into a table below."""

LONGEST_FACT = 2_000
"""Characters."""

_HERE = Path(__file__).parent


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


def render_page(
    comparison: Comparison,
    before: EvaluatedSamples,
    after: EvaluatedSamples,
    curves: Mapping[str, Points],
    facts: Mapping[str, str],
) -> str:
    """The report as one HTML page below 2 MB, the same for the same input.

    Args:
        comparison: what `compare(before, after)` found.
        before: the images that stand on the left.
        after: the images that stand on the right.
        curves: what training logged: name -> (epoch, value); see `draw_curves` for which become bands.
        facts: where the policy comes from and where its files lie, in words; "run", if given, is the title.
    """
    content = {
        "title": shortened(facts.get("run", "Reward finetuning"), 120),
        "comparison": comparison,
        "sections": _sections(comparison),
        "stages": stages(comparison, curves, after.epoch),
        "curves": [(curve, Markup(curve.svg)) for curve in draw_curves(curves)],  # noqa: S704 - our own drawing, no text of others
        "facts": [(shortened(name, 80), shortened(value, LONGEST_FACT)) for name, value in facts.items()],
        "first_pairs": FIRST_PAIRS,
        "rewards_abreast": REWARDS_ABREAST,
        **_assets(),
    }
    shell = _template().render(content, groups=[])
    room = MOST_BYTES - len(shell.encode())
    return _template().render(content, groups=grouped_pairs(comparison, before, after, num_bytes=room))


@cache
def _template() -> Template:
    loader = FileSystemLoader(_HERE)
    return Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    ).get_template("page.html")


@cache
def _assets() -> dict[str, Markup]:
    """The page's own style and script, and the digest by which the page's policy knows the script."""
    style, script = ((_HERE / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return {"style": Markup(style), "script": Markup(script), "script_digest": Markup(digest)}  # noqa: S704 - our own files


def _sections(comparison: Comparison) -> list[Section]:
    scales = _scales(comparison.rows)
    places = reward_decimals(comparison)
    sections = []
    for name, group in groupby(comparison.rows, key=lambda row: row.prompt_set):
        rows = list(group)
        whole = [row for row in rows if row.category is None]
        inside = [row for row in rows if row.category is not None]
        gain = whole[0].gain
        sections.append(
            Section(
                name=shortened(name, 80),
                size=f"{_counted(gain.num_prompts, 'prompt')}, {_counted(gain.num_images, 'pair')}",
                caution=_caution(gain),
                lines=tuple(_line(row, scales, places) for row in whole),
                categories=tuple(
                    (category_name(category), tuple(_line(row, scales, places) for row in lines))
                    for category, lines in groupby(inside, key=lambda row: row.category or "")
                ),
                category_note=_category_note(inside),
            )
        )
    return sections


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
        wins=f"{row.win_rate:.0%}",
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
        f"{_counted(gain.num_prompts, 'prompt')} cannot speak for prompts that were not drawn ({FEWEST_PROMPTS} can): "
        "these intervals are about new images of the same prompts."
    )


def _category_note(rows: Sequence[Row]) -> str:
    note = f"Each interval misses the truth one time in twenty; there are {len(rows)} of them."
    if any(row.gain.unit == "images" for row in rows):
        note += f" In a category of fewer than {FEWEST_PROMPTS} prompts they are about new images of the same prompts."
    return note


def _counted(count: int, what: str) -> str:
    return f"{count:,} {what}" if count == 1 else f"{count:,} {what}s"
