"""The pictures of docs/settings.md, from the tuning grids and from the doctor's runs.

python benchmarks/study/settings_plots.py
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from matplotlib.figure import Figure
from plan import HERE, RESULTS, TUNING, grid_of, read_study
from plots import STYLE
from results import Result

PICTURES = HERE.parents[1] / "docs"

_ARMS = {
    "superseded-small": ("β 20, 4 updates, 8 × 8 images", "#c2410c", "-"),
    "superseded-large": ("β 20, 4 updates, 32 × 2 images", "#c2410c", "--"),
    "superseded-large-beta0.1": ("β 0.1, 4 updates, 32 × 2 images", "#7c3aed", "--"),
    "prdp-beta10-u4": ("β 10, 4 updates, 32 × 8 images", "#0f766e", "--"),
    "prdp-beta1-u4": ("β 1, 4 updates, 32 × 8 images", "#0f766e", "-"),
    "prdp-beta1-u1": ("β 1, 1 update, 32 × 8 images", "#2456c8", "-"),
}
_PANELS = {
    "doctor/reference_pull": ("pull of the reference, times the reward's", 1.0),
    "doctor/log_prob_move": ("move of log-probs in an epoch, clip ranges", 5.0),
    "reward/mean": ("reward of the epoch's images", None),
}
_METHODS = {"prdp": "PRDP: beta", "ddpo": "DDPO: bound of advantages"}


def main() -> None:
    """Write both pictures."""
    with mpl.rc_context(STYLE):
        _save(_grids(), "settings-grid.svg")
        _save(_doctor(), "settings-doctor.svg")


def _grids() -> Figure:
    """Gain of each cell of a method's grid that has a result, against the method's own knob."""
    figure = Figure(figsize=(9, 3.6), layout="constrained", facecolor="white")
    for axes, (method, title) in zip(figure.subplots(1, len(_METHODS), sharey=True), _METHODS.items(), strict=True):
        lines: dict[tuple[float, float], list[tuple[float, Result]]] = {}
        for cell in grid_of(read_study(), method):
            path = RESULTS / TUNING / f"{cell.arm}-seed{read_study()['tuning']['seed']}.json"
            if path.exists():
                rate, updates, own = cell.knobs.values()
                lines.setdefault((rate, updates), []).append((own, Result(path)))
        for (rate, updates), points in lines.items():
            _gains(axes, points, f"lr {rate:g}, {updates} update{'s' * (updates > 1)}")
        owns = sorted({own for points in lines.values() for own, _ in points})
        axes.set_xscale("log")
        axes.set_xticks(owns, [f"{own:g}" for own in owns])
        axes.minorticks_off()
        axes.set_xlabel(title)
        axes.legend(loc="lower left")
    figure.axes[0].set_ylabel("gain on training prompts (95 % over prompts)")
    figure.axes[0].set_ylim(bottom=0)
    return figure


def _gains(axes: Any, points: Sequence[tuple[float, Result]], label: str) -> None:
    gains = [result.gain() for _, result in points]
    errors = [[gain.mean - gain.low for gain in gains], [gain.high - gain.mean for gain in gains]]
    axes.errorbar([own for own, _ in points], [gain.mean for gain in gains], errors, marker="o", capsize=3, label=label)


def _doctor() -> Figure:
    figure = Figure(figsize=(12, 3.6), layout="constrained", facecolor="white")
    for axes, (metric, (title, limit)) in zip(figure.subplots(1, len(_PANELS)), _PANELS.items(), strict=True):
        for arm, (label, colour, style) in _ARMS.items():
            axes.plot(*zip(*_curve(arm, metric), strict=True), style, color=colour, label=label)
        if limit is not None:
            axes.axhline(limit, color="#111827", linewidth=1, linestyle=":")
        axes.set_title(title)
        axes.set_xlabel("epoch")
    figure.axes[0].set_yscale("symlog", linthresh=0.1)
    figure.axes[0].set_ylim(bottom=0)
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3)
    return figure


def _curve(arm: str, metric: str) -> list[tuple[int, float]]:
    (path,) = (HERE / "doctor").glob(f"{arm}-seed*.json")
    curves = json.loads(path.read_text(encoding="utf-8"))["curves"]
    return [(epoch, value) for epoch, value in curves[metric]]


def _save(figure: Figure, name: str) -> Path:
    path = PICTURES / name
    figure.savefig(path, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return path


if __name__ == "__main__":
    main()
