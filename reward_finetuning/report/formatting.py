"""Formatting of numbers, names and findings."""

import math
from collections.abc import Sequence

from reward_finetuning.records import PRETRAINED


def policy_names(before: tuple[int, str], after: tuple[int, str]) -> tuple[str, str]:
    """Names of two policies, each given as (epoch, sha256 of its weights or PRETRAINED)."""
    names = [
        f"epoch {epoch}" if epoch else PRETRAINED if policy == PRETRAINED else "the start"
        for epoch, policy in (before, after)
    ]
    if names[0] == names[1] and before != after:
        names = [f"{name} ({policy[:8]})" for name, (_, policy) in zip(names, (before, after), strict=True)]
    return names[0], names[1]


def category_name(category: str) -> str:
    """Display name of a category, which can be empty."""
    return shortened(category, 40) or "(none)"


def verdict(after: str, before: str, findings: Sequence[tuple[str, str, str]]) -> str:
    """One sentence about all findings.

    Args:
        after: name of the policy.
        before: name of the policy with which it is compared.
        findings: (reward, prompt set, "better" | "worse" | "unsure"), the most important first.
    """
    better, worse = _listed(findings, "better"), _listed(findings, "worse")
    if not better and not worse:
        return f"No significant difference between {after} and {before} on {_joined(_sets(findings))}."
    parts = []
    if better:
        parts.append(f"better than {before} on {better}")
    if worse:
        parts.append(f"worse on {worse}" if better else f"worse than {before} on {worse}")
    each = " each" if sum(direction != "unsure" for _, _, direction in findings) > 1 else ""
    sentence = f"{after} is {' and '.join(parts)} (95 % confidence{each})."
    return sentence[0].upper() + sentence[1:]


def decimals(width: float) -> int:
    """Number of decimals for a value with half width `width`: two digits of the width, between 2 and 5."""
    if not math.isfinite(width) or width <= 0:
        return 3
    return min(5, max(2, 1 - math.floor(math.log10(width))))


def number(value: float, places: int) -> str:
    """A number with a minus sign (U+2212); infinities as symbols."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{places}f}"
    # -0.00 is shown as 0.00.
    return text.replace("-", "−") if float(text) else f"{0:.{places}f}"


def signed(value: float, places: int) -> str:
    """A number with its sign, unless it rounds to zero."""
    text = number(value, places)
    return text if text.startswith("−") or not text.strip("0.") else f"+{text}"


def change_and_bounds(mean: float, low: float, high: float, places: int) -> tuple[str, str, str]:
    """Mean and bounds of a change. An interval that excludes zero has as many decimals as its sign needs.

    So an interval from 0.0004 does not read "0.00 to" next to the finding "better". Where six decimals
    are not enough, all three are written as powers of ten.

    Returns:
        The texts of mean, low and high.
    """
    texts = [signed(value, places) for value in (mean, low, high)]
    if (low > 0 or high < 0) and not all(_has_sign(text) for text in texts):
        nearest = min(abs(low), abs(high))
        needed = min(_MOST_DECIMALS, max(places, -math.floor(math.log10(nearest))))
        texts = [signed(value, needed) for value in (mean, low, high)]
        if not all(_has_sign(text) for text in texts):
            texts = [_power(value) for value in (mean, low, high)]
    return texts[0], texts[1], texts[2]


_MOST_DECIMALS = 6


def _has_sign(text: str) -> bool:
    return text[0] in "+−"


def _power(value: float) -> str:
    """For example +4.0e−12."""
    return signed(value, 0) if math.isinf(value) else f"{value:+.1e}".replace("-", "−")


def share(value: float) -> str:
    """A share in per cent; empty for NaN."""
    return "" if math.isnan(value) else f"{value:.0%}"


def shortened(text: str, limit: int) -> str:
    """Text for display: invisible and broken characters are replaced, and the text is cut at `limit` characters."""
    shown = "".join("\ufffd" if _is_invisible(character) else character for character in text[:limit])
    return shown if len(text) <= limit else f"{shown}…"


def _is_invisible(character: str) -> bool:
    code = ord(character)
    changes_direction = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return (
        changes_direction or (code < 0x20 and character not in "\t\n") or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000
    )


def _listed(findings: Sequence[tuple[str, str, str]], direction: str) -> str:
    """For example: reward and shapes (train, heldout) and colourfulness (train). A single prompt set is omitted."""
    places: dict[str, list[str]] = {}
    for reward, prompt_set, finding in findings:
        if finding == direction:
            places.setdefault(reward, []).append(prompt_set)
    if len(_sets(findings)) == 1:
        return _joined(list(places))
    by_sets: dict[str, list[str]] = {}
    for reward, prompt_sets in places.items():
        by_sets.setdefault(", ".join(prompt_sets), []).append(reward)
    return _joined([f"{_joined(rewards)} ({prompt_sets})" for prompt_sets, rewards in by_sets.items()])


def _sets(findings: Sequence[tuple[str, str, str]]) -> list[str]:
    return list(dict.fromkeys(prompt_set for _, prompt_set, _ in findings))


def _joined(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
