"""What speaks against promoting a policy, in words."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from reward_finetuning.config import RunConfig
from reward_finetuning.storage.artifacts.rewards import COMBINED


def find_objections(config: RunConfig, metrics: Mapping[str, float]) -> Iterator[str]:
    """Each thing that speaks against promoting a policy with these `eval/...` metrics.

    Args:
        config: the run's; its promotion section says what is asked.
        metrics: of the comparison with the model that it has to beat.
    """
    promotion = config.promotion
    for prompt_set in promotion.improve_on:
        low = metrics.get(f"eval/{prompt_set}/{COMBINED}/gain_low")
        if low is None or low <= 0:
            found = "has no interval: too few prompts or images" if low is None else f"may be as low as {low:+.4g}"
            yield f"its gain on {prompt_set} {found}"
    for prompt_set in promotion.keep_on:
        high = metrics.get(f"eval/{prompt_set}/{COMBINED}/gain_high", 0.0)
        if high < 0:
            yield f"its reward on {prompt_set} falls, by at least {-high:.4g}"
    for prompt_set in dict.fromkeys([*promotion.improve_on, *promotion.keep_on]):
        for reward, margin in promotion.guard_margins.items():
            gain = metrics.get(f"eval/{prompt_set}/{reward}/gain", 0.0)
            if gain < -margin:
                yield f"{reward} on {prompt_set} changes by {gain:+.4g}, and may fall by {margin:g}"
