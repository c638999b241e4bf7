"""One figure a claim, drawn from the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from judge import BETAS, KINDS, Arms
from matplotlib.figure import Figure
from results import Arm

_COLOURS = ("#2456c8", "#c2410c", "#0f766e", "#7c3aed", "#6b7280")
_STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "study",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e2e4e7",
    "legend.frameon": False,
}


def draw(claim: str, arms: Arms, others: Mapping[str, Arms], path: Path) -> bool:
    """Write the claim's figure; False while an arm it needs has no result."""
    with mpl.rc_context(_STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained", facecolor="white")
        try:
            _DRAWN[claim](figure, arms, others)
        except KeyError:
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return True


def _a(figure: Figure, arms: Arms, _: Mapping[str, Arms]) -> None:
    methods = ("prdp", "prdp-unclipped", "ddpo", "ddpo-unclipped")
    for axes, scale in zip(figure.subplots(1, 2), ("small", "large"), strict=True):
        _reward_curves(axes, {method: arms[f"{method}-{scale}"] for method in methods})
        axes.set_title(f"{scale} scale")


def _b(figure: Figure, arms: Arms, others: Mapping[str, Arms]) -> None:
    a = others["a"]
    small, large = figure.subplots(1, 2)
    _reward_curves(
        small,
        {"PRDP": a["prdp-small"], "DDPO": a["ddpo-small"], "DDPO, unnormalised": arms["ddpo-unnormalised-small"]},
    )
    _reward_curves(
        large,
        {"PRDP, 32 × 2": a["prdp-large"], "DDPO, 64 × 1": a["ddpo-large"], "DDPO, 32 × 2": arms["ddpo-pairs-large"]},
    )
    small.set_title("45 prompts")
    large.set_title("1056 prompts")


def _c(figure: Figure, arms: Arms, _: Mapping[str, Arms]) -> None:
    axes = figure.subplots()
    points = {f"PRDP, β={beta}": arms[f"beta-{beta}"] for beta in BETAS} | {"DDPO": arms["ddpo"]}
    for (label, arm), colour in zip(points.items(), _COLOURS, strict=True):
        trained, watched = arm.gains(reward="reward"), arm.gains(reward="shapes")
        axes.scatter(trained, watched, color=colour, s=14, alpha=0.5)
        axes.scatter([_mean(trained)], [_mean(watched)], color=colour, s=60, label=label)
    axes.axhline(0, color="#9ca3af", linewidth=0.8)
    axes.set_xlabel("gain in colourfulness, which is trained")
    axes.set_ylabel("change of the pixel reward, watched")
    axes.legend()


def _d(figure: Figure, arms: Arms, _: Mapping[str, Arms]) -> None:
    train, unseen, losses = figure.subplots(1, 3)
    stages = (1, 2, 3, 4)
    for axes, prompt_set in ((train, "train"), (unseen, "unseen")):
        for name, colour in zip(("online", "offline", "online-unclipped"), _COLOURS, strict=False):
            per_stage = [arms[name].gains(prompt_set, epoch=stage) for stage in stages]
            _band(axes, stages, per_stage, name, colour)
        axes.set_title(f"{'training' if prompt_set == 'train' else 'unseen'} prompts")
        axes.set_xlabel("stage, 8 updates each")
        axes.set_xticks(stages)
        axes.axhline(0, color="#9ca3af", linewidth=0.8)
    train.set_ylabel("gain over the pretrained model")
    unseen.legend()
    named = {"cross-entropy": "offline", "Brier": "offline-brier", "reward diff.": "offline-reward-difference"}
    _bars(losses, {label: arms[name] for label, name in named.items()}, "train")
    losses.set_title("offline, by loss")


def _e(figure: Figure, arms: Arms, _: Mapping[str, Arms]) -> None:
    for axes, kind in zip(figure.subplots(1, 4, sharey=True), KINDS, strict=True):
        _bars(axes, {method.upper(): arms[f"{method}-{kind}"] for method in ("ppod", "dpok", "rwr")}, "train")
        axes.set_title(kind)


def _f(figure: Figure, arms: Arms, _: Mapping[str, Arms]) -> None:
    arm = arms["weighted-sum"]
    axes = figure.subplots()
    for position, kind in enumerate(KINDS):
        _bar(axes, position, arm, kind, _COLOURS[0])
    axes.set_xticks(range(len(KINDS)), [f"unseen {kind}" for kind in KINDS])
    axes.set_ylabel("gain in the weighted sum")
    axes.axhline(0, color="#9ca3af", linewidth=0.8)


def _reward_curves(axes: Any, arms: Mapping[str, Arm]) -> None:
    for (label, arm), colour in zip(arms.items(), _COLOURS, strict=False):
        curves = [dict(result.curve("reward/mean")) for result in arm.results]
        epochs = sorted(set[int]().union(*curves))
        smooth = [_smoothed([c.get(e) for e in epochs]) for c in curves]
        _band(
            axes, epochs, [[v for v in column if v is not None] for column in zip(*smooth, strict=True)], label, colour
        )
    axes.set_xlabel("epoch")
    axes.set_ylabel("reward of an epoch's images (mean of 5 epochs)")
    axes.legend()


def _smoothed(values: Sequence[float | None]) -> list[float | None]:
    """Mean of the five epochs that end here: each epoch has other prompts, some easier."""
    kept = [[v for v in values[max(0, i - 4) : i + 1] if v is not None] for i in range(len(values))]
    return [_mean(part) if part and values[i] is not None else None for i, part in enumerate(kept)]


def _band(axes: Any, xs: Sequence[int], columns: Sequence[Sequence[float]], label: str, colour: str) -> None:
    """The mean over seeds, and from the lowest to the highest of them."""
    there = [(x, column) for x, column in zip(xs, columns, strict=True) if column]
    axes.plot([x for x, _ in there], [_mean(column) for _, column in there], color=colour, label=label)
    low, high = ([function(column) for _, column in there] for function in (min, max))
    axes.fill_between([x for x, _ in there], low, high, color=colour, alpha=0.12, linewidth=0)


def _bars(axes: Any, arms: Mapping[str, Arm], prompt_set: str) -> None:
    for position, (arm, colour) in enumerate(zip(arms.values(), _COLOURS, strict=False)):
        _bar(axes, position, arm, prompt_set, colour)
    axes.set_xticks(range(len(arms)), list(arms), rotation=20)
    axes.axhline(0, color="#9ca3af", linewidth=0.8)


def _bar(axes: Any, position: int, arm: Arm, prompt_set: str, colour: str) -> None:
    gain = arm.gain(prompt_set)
    axes.bar(position, gain.mean, color=colour, width=0.6)
    axes.errorbar(
        position, gain.mean, yerr=[[gain.mean - gain.low], [gain.high - gain.mean]], color="#111827", capsize=3
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


_DRAWN: dict[str, Callable[[Figure, Arms, Mapping[str, Arms]], None]] = {
    "a": _a,
    "b": _b,
    "c": _c,
    "d": _d,
    "e": _e,
    "f": _f,
}
