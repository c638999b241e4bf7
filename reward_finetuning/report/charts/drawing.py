"""Small figures as SVG that takes its colours and its font from the page."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

NUM_STYLES = 6
"""Series of one figure that look different; the page's style sheet has as many `--series-` colours."""

# Colours that matplotlib writes and the page replaces by its own, which differ between light and dark.
_INK = {"#010101": "var(--muted)", "#020202": "var(--rule)", "#030303": "var(--accent)"} | {
    f"#0400{number:02x}": f"var(--series-{number})" for number in range(NUM_STYLES)
}
MUTED, RULE, ACCENT, *SERIES = _INK

_MARKERS = ("o", "s", "^", "D", "v", "P")
_DASHES = ("-", (0, (5, 2)), (0, (1.5, 1.5)), (0, (6, 2, 1.5, 2)), (0, (9, 3)), (0, (3, 1.5, 1, 1.5, 1, 1.5)))

_SETTINGS = {
    "svg.fonttype": "none",
    "font.size": 8,
    "axes.edgecolor": RULE,
    "axes.labelcolor": MUTED,
    "axes.grid": True,
    "axes.grid.axis": "y",
    "axes.spines.left": False,
    "axes.spines.right": False,
    "axes.spines.top": False,
    "grid.color": RULE,
    "grid.linewidth": 0.6,
    "xtick.color": MUTED,
    "ytick.color": MUTED,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "axes.formatter.limits": (-4, 5),
    "axes.formatter.use_mathtext": False,
    "axes.unicode_minus": True,
}


@dataclass(frozen=True, slots=True)
class Series:
    """One line of a figure, told apart from the others by dashes and marks, so that no one needs its colour."""

    label: str
    points: Sequence[tuple[float, float]]
    """(x, y) in the order in which they are joined."""

    faint: Sequence[tuple[float, float]] = ()
    """What the points are means of: dots behind the line."""


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of a figure's legend, which the page sets as text."""

    label: str
    svg: str


@dataclass(frozen=True, slots=True)
class Overlay:
    """Several series in one figure."""

    title: str
    description: str
    """What the figure shows, for those who cannot see it."""

    svg: str
    keys: tuple[Key, ...]


def draw(name: str, plot: Callable[[Any], None], *, inches: tuple[float, float] = (3.6, 1.7)) -> str:
    """The SVG of what `plot` puts on matplotlib's axes; `name` alone decides its ids."""
    # matplotlib takes a second to import, which only those who draw should pay.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # The salt makes ids depend on the name alone: the same page from the same numbers, no two figures with one id.
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure = Figure(figsize=inches, layout="constrained")
        plot(figure.add_subplot())
        buffer = StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    return _inline(buffer.getvalue())


def keys(labels: Sequence[str]) -> tuple[Key, ...]:
    """The legend of series drawn by `plot_series` in the same order."""

    def sample(number: int) -> Callable[[Any], None]:
        def plot(axes: Any) -> None:
            axes.axis("off")
            axes.plot([0, 1, 2], [0, 0, 0], **{**style(number), "markersize": 5}, markevery=[1])

        return plot

    return tuple(
        Key(label, draw(f"key {number}", sample(number), inches=(0.5, 0.16))) for number, label in enumerate(labels)
    )


def plot_series(axes: Any, series: Sequence[Series], *, most_marks: int = 16) -> None:
    """Lines with marks; a long line has marks here and there."""
    for number, one in enumerate(series):
        look = style(number)
        if one.faint:
            axes.plot(*zip(*one.faint, strict=True), **{**look, "linestyle": "none", "alpha": 0.3, "markersize": 2.2})
        every = max(1, len(one.points) // most_marks)
        axes.plot(*zip(*one.points, strict=True), **look, markevery=every)


def style(number: int) -> Mapping[str, Any]:
    """How series `number` looks; the seventh differs from the first in its marks alone, which are hollow."""
    kind = number % NUM_STYLES
    return {
        "color": SERIES[kind],
        "linestyle": _DASHES[kind],
        "linewidth": 1.4,
        "marker": _MARKERS[kind],
        "markersize": 3.6,
        "fillstyle": "full" if number < NUM_STYLES else "none",
    }


def _inline(svg: str) -> str:
    """The figure as part of an HTML page: its font and colours, no XML heads, no ids that every figure has."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| version="[^"]*"| (width|height)="[\d.]+pt"', "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-size: [^;]*; font-family: [^;]*; ", "", svg)
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)  # tick labels keep their digits
    for written, own in _INK.items():
        svg = svg.replace(written, own)
    return re.sub(r"\s*\n\s*", " ", svg).strip()
