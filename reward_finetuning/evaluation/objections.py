"""What speaks against promoting a policy, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.prompts import read_prompts
from reward_finetuning.report.comparison import metric_key
from reward_finetuning.report.statistics.intervals import FEWEST_PROMPTS
from reward_finetuning.storage.artifacts.rewards import COMBINED


def find_objections(config: RunConfig, metrics: Mapping[str, float]) -> Iterator[str]:
    """Each thing that speaks against promoting a policy with these `eval/...` metrics.

    A metric that is missing is an objection too: a gate that knows nothing stays shut.

    Args:
        config: the run's; its promotion section defines the conditions.
        metrics: of the comparison with the model that the policy has to beat (report.comparison.as_metrics).
    """
    promotion = config.promotion
    least = promotion.min_gain or 0.0
    for prompt_set in promotion.improve_on:
        low = metrics.get(metric_key(prompt_set, COMBINED, "gain_low"))
        if low is None or low <= least:
            asked = f", promotion.min_gain is {least:g}" if least else ""
            reason = _missing(metrics, prompt_set, COMBINED) if low is None else f"may be as low as {low:+.4g}{asked}"
            yield f"its gain on {prompt_set} {reason}"
    yield from find_small_sets(config)
    for prompt_set in promotion.keep_on:
        high = metrics.get(metric_key(prompt_set, COMBINED, "gain_high"))
        if high is None:
            yield f"its gain on {prompt_set} {_missing(metrics, prompt_set, COMBINED)}"
        elif high < 0:
            yield f"its reward on {prompt_set} falls, by at least {-high:.4g}"
    yield from find_fallen_guards(config, metrics)


def find_small_sets(config: RunConfig) -> Iterator[str]:
    """Each prompt set of improve_on that is too small for an interval over prompts, if no least gain is stated."""
    if config.promotion.min_gain is not None:
        return
    for name in config.promotion.improve_on:
        source = config.evaluation.prompt_sets.get(name)
        num_prompts = FEWEST_PROMPTS if source is None else len(read_prompts(source).prompts)
        if num_prompts < FEWEST_PROMPTS:
            yield (
                f"{name} has {num_prompts} prompts, fewer than {FEWEST_PROMPTS}: its interval says nothing about other "
                "prompts; set promotion.min_gain to the least gain that counts"
            )


def check_promotion(config: RunConfig) -> None:
    """Refuse a run that ends in a promotion for which its prompts are too few.

    Raises:
        UserError: naming the prompt set and the setting.
    """
    promotes = config.loop.granularity == "staged" or config.retraining is not None
    if promotes and (objection := next(find_small_sets(config), None)) is not None:
        raise UserError(f"promotion.improve_on: {objection}")


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
