"""Plot of the KL to the reference per denoising step."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.charts.drawing import Overlay, Series, draw, keys, plot_series
from reward_finetuning.report.formatting import shortened


def draw_kl_by_step(policies: Mapping[str, EvaluatedSamples]) -> list[Overlay]:
    """The mean KL of every denoising step: one figure per prompt set, one line per policy; empty without measurements.

    Args:
        policies: by name; policies without KL, or with zero KL in all steps, are omitted.
    """
    measured = {name: samples for name, samples in policies.items() if samples.kl is not None and samples.kl.any()}
    sets = dict.fromkeys(prompt_set for samples in measured.values() for prompt_set in samples.prompt_sets)
    return [_overlay(prompt_set, measured) for prompt_set in sets]


def _overlay(prompt_set: str, policies: Mapping[str, EvaluatedSamples]) -> Overlay:
    series = [
        Series(shortened(name, 60), list(enumerate(_means(samples, prompt_set), start=1)))
        for name, samples in policies.items()
        if prompt_set in samples.prompt_sets
    ]
    description = "; ".join(f"{line.label}: {_description(line.points)}" for line in series)
    title = shortened(prompt_set, 60)
    svg = draw(f"KL by step {title}", lambda axes: _plot(axes, series), inches=(4.6, 2.2))
    return Overlay(title, f"KL by denoising step, {title}. {description}", svg, keys([line.label for line in series]))


def _means(samples: EvaluatedSamples, prompt_set: str) -> NDArray[np.float64]:
    assert samples.kl is not None
    means: NDArray[np.float64] = samples.kl[np.asarray(samples.prompt_sets) == prompt_set].mean(
        axis=0, dtype=np.float64
    )
    return means


def _description(points: Sequence[tuple[float, float]]) -> str:
    step, top = max(points, key=lambda point: point[1])
    total = sum(value for _, value in points)
    return f"{total:.3g} in total, the highest at step {step} of {len(points)} with {top:.3g}"


def _plot(axes: Any, series: Sequence[Series]) -> None:
    from matplotlib.ticker import MaxNLocator

    plot_series(axes, series)
    axes.set_xlabel("denoising step, from noise to image")
    axes.set_ylabel("nats per latent element")
    axes.set_ylim(bottom=0)
    axes.xaxis.set_major_locator(MaxNLocator(8, integer=True))
    axes.yaxis.set_major_locator(MaxNLocator(4))
    axes.margins(x=0.03)
