"""Training curves as SVG with the colours of the page."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from reward_finetuning.report.charts.drawing import ACCENT, draw
from reward_finetuning.report.formatting import decimals, number, shortened

Points = Sequence[tuple[int, float]]
"""(epoch, value)"""

MAX_POINTS = 240
"""Points per curve; a curve is about 280 CSS pixels wide."""


@dataclass(frozen=True, slots=True)
class Curve:
    """One small figure."""

    name: str
    latest: str
    """The last value, as text."""

    description: str
    """Description of the figure for screen readers."""

    svg: str


def draw_curves(curves: Mapping[str, Points]) -> list[Curve]:
    """One figure per curve that has points, in input order.

    `x/std` becomes the band around `x/mean`; `x/gain_low` and `x/gain_high` the band around `x/gain`.
    """
    finite = {name: [(e, v) for e, v in sorted(points) if math.isfinite(v)] for name, points in curves.items()}
    bands = {name: _band(name, finite) for name in finite}
    drawn_as_band = {part for band in bands.values() if band for part in band[2]}
    return [
        _curve(name, points, band[:2] if (band := bands[name]) else None)
        for name, points in finite.items()
        if points and name not in drawn_as_band
    ]


def thinned(points: Points) -> list[tuple[int, float]]:
    """At most MAX_POINTS points: the lowest and the highest of each interval, so that spikes stay visible."""
    if len(points) <= MAX_POINTS:
        return list(points)
    length = math.ceil(len(points) / (MAX_POINTS // 2))
    extremes: list[tuple[int, float]] = []
    for start in range(0, len(points), length):
        part = points[start : start + length]
        extremes += sorted({min(part, key=lambda point: point[1]), max(part, key=lambda point: point[1])})
    return extremes


def _band(name: str, curves: Mapping[str, Points]) -> tuple[Points, Points, tuple[str, ...]] | None:
    """The lower and upper edge around a curve, and the names of the curves that define them."""
    if name.endswith("/mean") and curves.get(spread := f"{name.removesuffix('/mean')}/std"):
        std = dict(curves[spread])
        around = [(epoch, value, std[epoch]) for epoch, value in curves[name] if epoch in std]
        return [(e, v - s) for e, v, s in around], [(e, v + s) for e, v, s in around], (spread,)
    low, high = f"{name}_low", f"{name}_high"
    if curves.get(low) and curves.get(high):
        both = dict(curves[low]).keys() & dict(curves[high]).keys()
        edges = [[(e, v) for e, v in curves[side] if e in both] for side in (low, high)]
        return edges[0], edges[1], (low, high)
    return None


def _curve(name: str, points: Points, band: tuple[Points, Points] | None) -> Curve:
    values = [value for _, value in points]
    places = decimals((max(values) - min(values)) / 2)
    first, last = (f"{number(value, places)} at epoch {epoch}" for epoch, value in (points[0], points[-1]))
    description = f"{first}, {last}, lowest {number(min(values), places)}, highest {number(max(values), places)}"
    shown = shortened(name, 60)
    return Curve(
        shown, number(values[-1], places), f"{shown}: {description}", draw(name, lambda axes: _plot(axes, points, band))
    )


def _plot(axes: Any, points: Points, band: tuple[Points, Points] | None) -> None:
    from matplotlib.ticker import MaxNLocator

    if band and band[0]:
        low, high = (dict(edge) for edge in band)
        epochs = [epoch for epoch, _ in thinned(band[0])]
        axes.fill_between(
            epochs, [low[e] for e in epochs], [high[e] for e in epochs], color=ACCENT, alpha=0.16, linewidth=0
        )
    marker = "o" if len(points) <= 12 else None
    axes.plot(*zip(*thinned(points), strict=True), color=ACCENT, linewidth=1.5, marker=marker, markersize=3)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.02)
