"""Small figures as SVG with the colours and the font of the page."""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from io import StringIO
from typing import Any

NUM_STYLES = 6
"""Number of styles of series; the style sheet of the page has the same number of `--series-` colours."""

# Placeholder colours for matplotlib. They are replaced by CSS variables, which differ between light and dark mode.
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
    """One line of a figure. Dashes and markers identify it without colour."""

    label: str
    points: Sequence[tuple[float, float]]
    """(x, y) in drawing order."""

    faint: Sequence[tuple[float, float]] = ()
    """Single values behind the means, drawn as dots."""


@dataclass(frozen=True, slots=True)
class Key:
    """An entry of the legend, which the page shows as text."""

    label: str
    svg: str


@dataclass(frozen=True, slots=True)
class Overlay:
    """Several series in one figure."""

    title: str
    description: str
    """Description of the figure for screen readers."""

    svg: str
    keys: tuple[Key, ...]


def draw(name: str, plot: Callable[[Any], None], *, inches: tuple[float, float] = (3.6, 1.7)) -> str:
    """The SVG of the figure that `plot` draws on matplotlib axes. Ids depend only on `name`."""
    # Importing matplotlib takes a second, so it is imported only for drawing.
    import matplotlib as mpl
    from matplotlib.figure import Figure

    # With this salt, ids depend only on the name: pages are reproducible, and ids of different figures differ.
    with mpl.rc_context({**_SETTINGS, "svg.hashsalt": name}):
        figure = Figure(figsize=inches, layout="constrained")
        plot(figure.add_subplot())
        buffer = StringIO()
        figure.savefig(
            buffer, format="svg", transparent=True, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type"))
        )
    return _inline(buffer.getvalue())


def keys(labels: Sequence[str]) -> tuple[Key, ...]:
    """The legend of series that `plot_series` draws in the same order."""

    def sample(number: int) -> Callable[[Any], None]:
        def plot(axes: Any) -> None:
            axes.axis("off")
            axes.plot([0, 1, 2], [0, 0, 0], **{**style(number), "markersize": 5}, markevery=[1])

        return plot

    return tuple(
        Key(label, draw(f"key {number}", sample(number), inches=(0.5, 0.16))) for number, label in enumerate(labels)
    )


def plot_series(axes: Any, series: Sequence[Series], *, max_markers: int = 16) -> None:
    """Draw lines with at most about `max_markers` markers each."""
    for number, line in enumerate(series):
        look = style(number)
        if line.faint:
            axes.plot(*zip(*line.faint, strict=True), **{**look, "linestyle": "none", "alpha": 0.3, "markersize": 2.2})
        every = max(1, len(line.points) // max_markers)
        axes.plot(*zip(*line.points, strict=True), **look, markevery=every)


def style(number: int) -> Mapping[str, Any]:
    """Style of series `number`. From the seventh series on, styles repeat with hollow markers."""
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
    """The figure as part of an HTML page: with its font and colours, without XML header and common ids."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r' xmlns(:\w+)?="[^"]*"| version="[^"]*"| (width|height)="[\d.]+pt"', "", svg)
    svg = re.sub(r'<g id="[^"]*"', "<g", svg)
    svg = re.sub(r"font-size: [^;]*; font-family: [^;]*; ", "", svg)
    svg = re.sub(r"<[^>]+>", lambda tag: re.sub(r"(\.\d\d)\d+", r"\1", tag[0]), svg)  # tick labels keep their digits
    for placeholder, variable in _INK.items():
        svg = svg.replace(placeholder, variable)
    return re.sub(r"\s*\n\s*", " ", svg).strip()
