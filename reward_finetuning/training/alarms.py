"""Does training still go well? Curves in, alarms out."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from reward_finetuning.config.sections.monitor import MonitorConfig

Curves = Mapping[str, Sequence[tuple[int, float]]]
"""Metric -> (epoch, value), by epoch."""


@dataclass(frozen=True, slots=True)
class Alarm:
    """One bound that was crossed."""

    name: str
    """As in MLflow: monitor/<name>."""

    text: str
    """What was measured, and against what."""


def find_alarms(curves: Curves, config: MonitorConfig, guards: Sequence[str]) -> list[Alarm]:
    """Everything that is wrong at the newest epoch of `curves`.

    Args:
        curves: of the run so far: `reward/mean`, `reward/std_within_prompt`, `reward/<scorer>/mean` and `/std`,
            `sample/kl_to_reference`.
        config: the bounds.
        guards: scorers of weight 0.
    """
    return [*_kl(curves, config), *_spread(curves, config), *_guards(curves, config, guards)]


def _kl(curves: Curves, config: MonitorConfig) -> Iterator[Alarm]:
    points = curves.get("sample/kl_to_reference", ())
    if config.max_kl is not None and points and points[-1][1] > config.max_kl:
        yield Alarm("kl", f"KL to the reference is {points[-1][1]:.3g}, monitor.max_kl is {config.max_kl:g}")


def _spread(curves: Curves, config: MonitorConfig) -> Iterator[Alarm]:
    means = _ends(curves, "reward/std_within_prompt", config.window)
    if means and means[1] < config.min_spread * means[0]:
        share = f"{means[1] / means[0]:.0%} of the first {config.window} epochs'"
        yield Alarm("spread", f"rewards within a prompt spread by {means[1]:.3g}, {share}: images have become alike")


def _guards(curves: Curves, config: MonitorConfig, guards: Sequence[str]) -> Iterator[Alarm]:
    trained = _ends(curves, "reward/mean", config.window)
    if config.guard_drop is None or trained is None or trained[1] <= trained[0]:
        return
    for guard in guards:
        means, spread = (_ends(curves, f"reward/{guard}/{part}", config.window) for part in ("mean", "std"))
        if means and spread and means[0] - means[1] > config.guard_drop * spread[0]:
            fell = f"{guard} fell from {means[0]:.3g} to {means[1]:.3g}, by more than {config.guard_drop:g} of its std"
            yield Alarm(
                f"guard/{guard}", f"{fell}, while the trained reward rose from {trained[0]:.3g} to {trained[1]:.3g}"
            )


def _ends(curves: Curves, name: str, window: int) -> tuple[float, float] | None:
    """Means over the first and the newest `window` epochs; None while they would share an epoch."""
    values = [value for _, value in curves.get(name, ())]
    if len(values) < 2 * window:
        return None
    return sum(values[:window]) / window, sum(values[-window:]) / window
