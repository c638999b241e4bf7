"""What speaks against promoting a policy, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reward_finetuning.config import RunConfig
from reward_finetuning.report.comparison import metric_key
from reward_finetuning.storage.artifacts.rewards import COMBINED


def find_objections(config: RunConfig, metrics: Mapping[str, float]) -> Iterator[str]:
    """Each thing that speaks against promoting a policy with these `eval/...` metrics.

    A metric that is missing is an objection too: a gate that knows nothing stays shut.

    Args:
        config: the run's; its promotion section defines the conditions.
        metrics: of the comparison with the model that the policy has to beat (report.comparison.as_metrics).
    """
    promotion = config.promotion
    for prompt_set in promotion.improve_on:
        low = metrics.get(metric_key(prompt_set, COMBINED, "gain_low"))
        if low is None or low <= 0:
            reason = _missing(metrics, prompt_set, COMBINED) if low is None else f"may be as low as {low:+.4g}"
            yield f"its gain on {prompt_set} {reason}"
    for prompt_set in promotion.keep_on:
        high = metrics.get(metric_key(prompt_set, COMBINED, "gain_high"))
        if high is None:
            yield f"its gain on {prompt_set} {_missing(metrics, prompt_set, COMBINED)}"
        elif high < 0:
            yield f"its reward on {prompt_set} falls, by at least {-high:.4g}"
    yield from find_fallen_guards(config, metrics)


def find_fallen_guards(config: RunConfig, metrics: Mapping[str, float]) -> Iterator[str]:
    """Each guard reward that may have fallen by more than its margin: its interval reaches below minus the margin."""
    promotion = config.promotion
    for prompt_set in dict.fromkeys([*promotion.improve_on, *promotion.keep_on]):
        for reward, margin in promotion.guard_margins.items():
            column = COMBINED if reward == combined_scorer(config) else reward
            low = metrics.get(metric_key(prompt_set, column, "gain_low"))
            if low is None:
                yield f"{reward} on {prompt_set} {_missing(metrics, prompt_set, column)}"
            elif low < -margin:
                gain = metrics[metric_key(prompt_set, column, "gain")]
                change = f"{gain:+.4g} (perhaps {low:+.4g})"
                yield f"{reward} on {prompt_set} changes by {change}, and may fall by {margin:g}"


def combined_scorer(config: RunConfig) -> str | None:
    """The scorer that is the combined reward, so that no evaluation has a column for it: the only one, of weight 1."""
    weighted = {name: weight for name, weight in config.reward.weights.items() if weight}
    return next(iter(weighted)) if list(weighted.values()) == [1.0] else None


def _missing(metrics: Mapping[str, float], prompt_set: str, reward: str) -> str:
    if metric_key(prompt_set, reward, "gain") in metrics:
        return "has no interval: too few prompts or images"
    return "was not measured"
