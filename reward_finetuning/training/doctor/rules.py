"""The doctor's rules: which measure is too high, and what to try. Curves in, readings out.

docs/settings.md explains each measure, and shows the runs on which the limits rest.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reward_finetuning.config.run import RunConfig

Curves = Mapping[str, Sequence[tuple[int, float]]]
"""Metric -> (epoch, value), by epoch."""

WINDOW = 3
"""Newest epochs that are averaged: one epoch's images are a small sample."""

NOISE_WINDOW = 10
"""The same for the noise: its estimate of one epoch is off by 0.2 or more."""


@dataclass(frozen=True, slots=True)
class Reading:
    """One measure of a run, averaged over its newest epochs."""

    label: str
    value: float
    limit: float
    advice: str
    """A setting and a value to try; empty if the measure is not too high."""

    unit: str = ""

    @property
    def warning(self) -> str:
        """The advice as a sentence; empty without advice."""
        measured = f"{self.value:.2g} {self.unit}".strip()
        return f"{self.label} is too high ({measured}, limit {self.limit:g}): try {self.advice}" if self.advice else ""


@dataclass(frozen=True, slots=True)
class _Excess:
    """A measure above its limit, and what its remedy depends on."""

    value: float
    curves: Curves
    config: RunConfig


@dataclass(frozen=True, slots=True)
class _Rule:
    metric: str
    label: str
    limit: float
    remedy: Callable[[_Excess], str]
    """`setting: value`; empty if nothing has to change."""

    unit: str = ""
    window: int = WINDOW


def examine(curves: Curves, config: RunConfig) -> list[Reading]:
    """Every measure that `curves` hold, at their newest epoch.

    Args:
        curves: of the run so far: `doctor/...`, and for the rule of noise `reward/mean` and `reward/std`.
        config: of the run; advice is in its settings.
    """
    return [reading for rule in _RULES for reading in _reading(rule, curves, config)]


def _reading(rule: _Rule, curves: Curves, config: RunConfig) -> Iterator[Reading]:
    value = _newest_mean(curves, rule.metric, rule.window)
    if value is not None:
        advice = rule.remedy(_Excess(value, curves, config)) if value > rule.limit else ""
        yield Reading(rule.label, value, rule.limit, advice, rule.unit)


def _weaker_reference(pull: _Excess) -> str:
    weight: float = getattr(pull.config.objective, "kl_weight", 0.0)
    return f"objective.kl_weight: {_rounded(weight / (2 * pull.value))}"


def _shorter_way(move: _Excess) -> str:
    """Fewer updates where they add up to the move, a lower learning rate where the first one alone is most of it."""
    training = move.config.training
    first = _newest_mean(move.curves, "doctor/log_prob_move_first", WINDOW) or 0.0
    if training.updates_per_epoch > 1 and first < move.value / 2:
        return f"training.updates_per_epoch: {training.updates_per_epoch // 2}"
    return f"training.learning_rate: {_rounded(training.learning_rate / 2)}"


def _more_images(share: _Excess) -> str:
    """Only where nothing is learnt: AdamW averages noisy gradients, and runs that learn may have a share above 0.9."""
    if _has_risen(share.curves, share.config.num_images) is not False:
        return ""
    return f"prompts.prompts_per_epoch: {2 * share.config.prompts.prompts_per_epoch}, for the reward has not risen"


def _has_risen(curves: Curves, num_images: int) -> bool | None:
    """Whether the newest epochs' reward is above the first ones' by two standard errors; None while they overlap."""
    means, stds = ([value for _, value in curves.get(key, ())] for key in ("reward/mean", "reward/std"))
    n = NOISE_WINDOW
    if min(len(means), len(stds)) < 2 * n:
        return None
    variance = sum(std**2 for std in stds[:n] + stds[-n:]) / n**2 / num_images
    return (sum(means[-n:]) - sum(means[:n])) / n > 2 * variance**0.5


def _faster_second_moment(step: _Excess) -> str:
    """The second moment lags behind gradients that grow: let it forget ten times as fast."""
    first, second = step.config.training.betas
    return f"training.betas: [{first:g}, {max(0.5, 1 - 10 * (1 - second)):.4g}]"


def _smaller_epsilon(share: _Excess) -> str:
    return f"training.epsilon: {_rounded(share.config.training.epsilon / 100)}"


def _newest_mean(curves: Curves, metric: str, window: int) -> float | None:
    values = [value for _, value in curves.get(metric, ())][-window:]
    return sum(values) / len(values) if values else None


def _rounded(value: float) -> str:
    """To one significant digit."""
    return f"{float(f'{value:.1g}'):g}"


_RULES = (
    _Rule("doctor/reference_pull", "pull of the reference", 1.0, _weaker_reference, "times the reward's"),
    _Rule("doctor/log_prob_move", "move of the log-probs in an epoch", 5.0, _shorter_way, "clip ranges"),
    _Rule("doctor/gradient_noise", "share of noise in the gradient", 0.9, _more_images, window=NOISE_WINDOW),
    _Rule("doctor/effective_step", "step of the optimizer", 1.2, _faster_second_moment, "learning rates"),
    _Rule("doctor/epsilon_share", "share of weights held back by training.epsilon", 0.25, _smaller_epsilon),
)
