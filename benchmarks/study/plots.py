"""One figure a claim, drawn from the results."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl
from judge import BETAS, KINDS, OFFSETS, Arms, at_offset, over_kinds
from matplotlib.figure import Figure
from results import Arm

_COLOURS = ("#2456c8", "#c2410c", "#0f766e", "#7c3aed", "#6b7280")
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "study",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": "#e2e4e7",
    "legend.frameon": False,
}


def draw(claim: str, found: Mapping[str, Arms], path: Path) -> bool:
    """Write the claim's figure; False while an arm it needs has no result."""
    with mpl.rc_context(STYLE):
        figure = Figure(figsize=(9, 3.4), layout="constrained", facecolor="white")
        try:
            _DRAWN[claim](figure, found)
        except (KeyError, ZeroDivisionError):
            return False
        path.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(path, metadata=dict.fromkeys(("Creator", "Date", "Format", "Type")))
    return True


def _a(figure: Figure, found: Mapping[str, Arms]) -> None:
    methods = ("prdp", "prdp-unclipped", "ddpo", "ddpo-unclipped")
    for axes, scale in zip(figure.subplots(1, 2, sharey=True), ("small", "large"), strict=True):
        _reward_curves(axes, {method: found["a"][f"{method}-{scale}"] for method in methods})
        axes.set_title(f"{scale} scale, four updates per epoch")


def _b(figure: Figure, found: Mapping[str, Arms]) -> None:
    arms = found["b"]
    small, large = figure.subplots(1, 2, sharey=True)
    unnormalised = arms["ddpo-unnormalised-small"]
    _reward_curves(small, {"PRDP": arms["prdp-small"], "DDPO": arms["ddpo-small"], "DDPO, unnormalised": unnormalised})
    groups = arms["ddpo-groups-large"]
    _reward_curves(
        large, {"PRDP, 32 × 8": arms["prdp-large"], "DDPO, 256 × 1": arms["ddpo-large"], "DDPO, 32 × 8": groups}
    )
    small.set_title("45 prompts")
    large.set_title("1056 prompts")


def _o(figure: Figure, found: Mapping[str, Arms]) -> None:
    axes = figure.subplots()
    named = {"PRDP, 32 × 8": "prdp", "DDPO, 256 × 1": "ddpo", "DDPO, 32 × 8": "ddpo-groups"}
    for (label, method), colour in zip(named.items(), _COLOURS, strict=False):
        gains = [list(at_offset(found, method, offset).gains(reward="shapes").values()) for offset in OFFSETS]
        _band(axes, [float(offset) for offset in OFFSETS], gains, label, colour)
    axes.set_xlabel("standard deviation of the level at which a prompt is scored")
    axes.set_ylabel("gain in the pixel reward")
    axes.legend()


def _c(figure: Figure, found: Mapping[str, Arms]) -> None:
    against_reward, against_kl = figure.subplots(1, 2, sharey=True)
    points = {f"PRDP, β={beta}": found["c"][f"beta-{beta}"] for beta in BETAS} | {"DDPO": found["c"]["ddpo"]}
    for (label, arm), colour in zip(points.items(), _COLOURS, strict=True):
        watched = arm.gain(reward="shapes").mean
        against_reward.scatter([arm.gain().mean], [watched], color=colour, s=60, label=label)
        against_kl.scatter([arm.last("sample/kl_to_reference")], [watched], color=colour, s=60)
    against_reward.set_xlabel("gain in colourfulness, which is trained")
    against_kl.set_xlabel("KL to the reference in the last epoch, nats per latent element")
    against_reward.set_ylabel("change of the pixel reward, watched")
    against_reward.legend()


def _d(figure: Figure, found: Mapping[str, Arms]) -> None:
    stages = (1, 2, 3, 4)
    for axes, name in zip(figure.subplots(1, 2, sharey=True), ("", "-converged"), strict=True):
        for method, colour in zip(("online", "offline"), _COLOURS, strict=False):
            for prompt_set, style in (("train", "-"), ("unseen", "--")):
                gains = [over_kinds(found["d"], f"{method}{name}", prompt_set, stage).mean for stage in stages]
                axes.plot(stages, gains, style, color=colour, label=f"{method}, {prompt_set}")
        axes.set_title("till convergence" if name else "equal updates")
        axes.set_xlabel("stage")
        axes.set_xticks(stages)
        axes.legend()


def _e(figure: Figure, found: Mapping[str, Arms]) -> None:
    for axes, kind in zip(figure.subplots(1, 4, sharey=True), KINDS, strict=True):
        baselines = {method.upper(): found["e"][f"{method}-{kind}"] for method in ("dpok", "rwr")}
        _bars(axes, {"PPOD": found["d"][f"online-{kind}"], **baselines}, "train")
        axes.set_title(kind)


def _f(figure: Figure, found: Mapping[str, Arms]) -> None:
    axes = figure.subplots()
    for position, kind in enumerate(KINDS):
        _bar(axes, position, found["f"]["weighted-sum"], kind, _COLOURS[0])
    axes.set_xticks(range(len(KINDS)), [f"unseen {kind}" for kind in KINDS])
    axes.set_ylabel("gain in the weighted sum")
    axes.axhline(0, color="#9ca3af", linewidth=0.8)


def _g(figure: Figure, found: Mapping[str, Arms]) -> None:
    curves, train, unseen = figure.subplots(1, 3)
    arms = {"PRDP": found["g"]["prdp"], "DDPO": found["g"]["ddpo"], "GRPO-like": found["g"]["grpo-like"]}
    _reward_curves(curves, arms)
    for axes, prompt_set in ((train, "train"), (unseen, "unseen")):
        _bars(axes, arms, prompt_set)
        axes.set_title(f"gain, {prompt_set} prompts")


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


def _band(axes: Any, xs: Sequence[float], columns: Sequence[Sequence[float]], label: str, colour: str) -> None:
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


_DRAWN: dict[str, Callable[[Figure, Mapping[str, Arms]], None]] = {
    "a": _a,
    "b": _b,
    "o": _o,
    "c": _c,
    "d": _d,
    "e": _e,
    "f": _f,
    "g": _g,
}
