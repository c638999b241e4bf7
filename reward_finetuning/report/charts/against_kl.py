"""Plot of rewards against the KL to the reference, which shows over-optimisation.

An over-optimised policy has a trained reward that rises with the KL while other rewards fall.

Source: Deng et al. 2024 (arXiv:2402.08714), fig. 10; Gao et al. 2023 (arXiv:2210.10760).
"""

import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.charts.curves import Points
from reward_finetuning.report.charts.drawing import MUTED, Overlay, Series, draw, keys, plot_series
from reward_finetuning.report.comparison import Comparison, metric_name
from reward_finetuning.report.formatting import number, shortened, signed

KL = "sample/kl_to_reference"
FEWEST_EVALUATIONS = 3
"""With fewer evaluated policies with a KL, the training images of the epochs are plotted instead."""

MAX_POINTS = 12
"""Training epochs are averaged to this many points, because the mean of the few prompts of one epoch is noisy."""

Track = list[tuple[float, float]]
"""(KL in nats per latent element and step, change in standard deviations), by KL."""


def draw_against_kl(
    comparison: Comparison,
    before: EvaluatedSamples,
    history: Mapping[str, Points],
    *,
    epoch: int,
    trained: Collection[str],
) -> list[Overlay]:
    """The change of every reward over the KL to the reference; empty without KL values.

    One figure per prompt set if enough evaluated policies have a KL; otherwise one figure of the training images.

    Args:
        comparison: comparison of the newest policy with the pretrained model.
        before: images of the pretrained model; their standard deviation is the unit of the changes.
        history: `sample/kl_to_reference`, `reward/<scorer>/{mean,std}` and `eval/<set>/<reward>/gain` by epoch.
        epoch: epoch of the newest policy; later epochs are omitted.
        trained: scorers with a weight above 0; the others are only monitored.
    """
    kl = {e: value for e, value in history.get(KL, ()) if math.isfinite(value)}
    evaluated = [
        _overlay(f"{shortened(prompt_set, 60)}, evaluated policies{_missing(epoch, kl)}", paths, trained)
        for prompt_set, paths in _evaluated(comparison, before, history, kl, epoch)
        if max(map(len, paths.values())) > FEWEST_EVALUATIONS
    ]
    if evaluated:
        return evaluated
    dots = _training_paths(history, {e: value for e, value in kl.items() if e <= epoch})
    return [_overlay("training images", {name: _averaged(path) for name, path in dots.items()}, trained, dots)] * bool(
        dots
    )


def _evaluated(
    comparison: Comparison, before: EvaluatedSamples, history: Mapping[str, Points], kl: Mapping[int, float], epoch: int
) -> Iterator[tuple[str, dict[str, Track]]]:
    """(prompt set, path of each reward), starting with the pretrained model at (0, 0)."""
    sets = np.asarray(before.prompt_sets)
    values = before.rewards | before.measures
    for prompt_set in dict.fromkeys(before.prompt_sets):
        paths: dict[str, Track] = {}
        for row in comparison.rows:
            if row.prompt_set != prompt_set or row.category is not None or not row.direction:
                continue
            unit = float(values[row.reward][sets == prompt_set].std())
            gains = {e: gain for e, gain in history.get(metric_name(row, "gain"), ()) if e < epoch}
            gains[epoch] = row.gain.mean
            # The images of epoch e + 1 are drawn by the policy of epoch e.
            points = [(kl[e + 1], gain / unit) for e, gain in gains.items() if unit and e + 1 in kl]
            paths[row.reward] = sorted([(0.0, 0.0), *points])
        yield prompt_set, paths


def _missing(epoch: int, kl: Mapping[int, float]) -> str:
    return "" if epoch + 1 in kl else " without the newest, whose KL is measured in the next epoch"


def _training_paths(history: Mapping[str, Points], kl: Mapping[int, float]) -> dict[str, Track]:
    """Paths of the training images, relative to the first epoch, which the pretrained model sampled."""
    paths: dict[str, Track] = {}
    names = [key.split("/")[1] for key in history if key.startswith("reward/") and key.endswith("/mean")]
    columns = {name: f"reward/{name}" for name in sorted(names) if name != "mean"}
    for name, column in {"reward": "reward", **columns}.items():
        mean, std = dict(history.get(f"{column}/mean", ())), dict(history.get(f"{column}/std", ()))
        if name != "reward" and history[f"{column}/mean"] == history.get("reward/mean"):
            continue  # equal to the combined reward: the only scorer has weight 1
        epochs = [e for e in mean if e in kl and math.isfinite(mean[e])]
        unit = std.get(1, 0.0) if 1 in mean else 0.0
        if len(epochs) > 1 and unit:
            paths[name] = sorted((kl[e], (mean[e] - mean[1]) / unit) for e in epochs)
    return paths


def _averaged(path: Track) -> Track:
    """At most MAX_POINTS points, each the mean of equally many epochs with similar KL."""
    size = math.ceil(len(path) / MAX_POINTS)
    parts = (path[start : start + size] for start in range(0, len(path), size))
    return [(float(np.mean([x for x, _ in part])), float(np.mean([y for _, y in part]))) for part in parts]


def _overlay(
    title: str, paths: Mapping[str, Track], trained: Collection[str], dots: Mapping[str, Track] | None = None
) -> Overlay:
    labels = [f"{shortened(name, 40)}, {_role(name, trained)}" for name in paths]
    series = [
        Series(label, path, () if dots is None or dots[name] == path else dots[name])
        for label, (name, path) in zip(labels, paths.items(), strict=True)
    ]
    descriptions = (f"{line.label}: {_description(line.points)}" for line in series)
    svg = draw(f"against KL {title}", lambda axes: _plot(axes, series), inches=(4.6, 2.6))
    return Overlay(title, f"Change of each reward over KL, {title}. " + "; ".join(descriptions), svg, keys(labels))


def _role(name: str, trained: Collection[str]) -> str:
    return "trained" if name == "reward" or name in trained else "monitored"


def _description(points: Sequence[tuple[float, float]]) -> str:
    (x, y), top = points[-1], max(points, key=lambda point: point[1])
    return (
        f"{signed(y, 2)} standard deviations at KL {number(x, 5)}, "
        f"at most {signed(top[1], 2)} at KL {number(top[0], 5)}"
    )


def _plot(axes: Any, series: Sequence[Series]) -> None:
    from matplotlib.ticker import MaxNLocator

    axes.axhline(0, color=MUTED, linewidth=0.7, linestyle=(0, (2, 3)))
    plot_series(axes, series)
    axes.set_xlabel("KL to the reference, nats per latent element and step")
    axes.set_ylabel("change, standard deviations")
    axes.xaxis.set_major_locator(MaxNLocator(6))
    axes.yaxis.set_major_locator(MaxNLocator(5))
    axes.margins(x=0.03)
