"""Numbers and findings in words."""

import math
from collections.abc import Sequence

from reward_finetuning.records import PRETRAINED


def policy_names(before: tuple[int, str], after: tuple[int, str]) -> tuple[str, str]:
    """What to call two policies, each given as (epoch, sha256 of its weights or PRETRAINED)."""
    names = [
        f"epoch {epoch}" if epoch else PRETRAINED if policy == PRETRAINED else "the start"
        for epoch, policy in (before, after)
    ]
    if names[0] == names[1] and before != after:
        names = [f"{name} ({policy[:8]})" for name, (_, policy) in zip(names, (before, after), strict=True)]
    return names[0], names[1]


def category_name(category: str) -> str:
    """What to call a category, which a prompt set may leave empty."""
    return shortened(category, 40) or "(none)"


def verdict(after: str, before: str, judged: Sequence[tuple[str, str, str]]) -> str:
    """One sentence on what is surely better or worse.

    Args:
        after: name of the policy judged.
        before: name of the policy it is held against.
        judged: (reward, prompt set, "better" | "worse" | "unsure"), the most important first.
    """
    better, worse = _listed(judged, "better"), _listed(judged, "worse")
    if not better and not worse:
        return f"No sure difference between {after} and {before} on {_joined(_sets(judged))}."
    found = []
    if better:
        found.append(f"better than {before} on {better}")
    if worse:
        found.append(f"worse on {worse}" if better else f"worse than {before} on {worse}")
    each = "each " if sum(direction != "unsure" for _, _, direction in judged) > 1 else ""
    sentence = f"{after} is {' and '.join(found)}, {each}sure to 95 %."
    return sentence[0].upper() + sentence[1:]


def decimals(width: float) -> int:
    """How many decimals show a quantity known to +-`width`: two digits of the width, between 2 and 5."""
    if not math.isfinite(width) or width <= 0:
        return 3
    return min(5, max(2, 1 - math.floor(math.log10(width))))


def number(value: float, places: int) -> str:
    """A number with a true minus sign; infinities as signs."""
    if math.isinf(value):
        return "∞" if value > 0 else "−∞"
    text = f"{value:.{places}f}"
    # A rounded -0.00 is no loss.
    return text.replace("-", "−") if float(text) else f"{0:.{places}f}"


def signed(value: float, places: int) -> str:
    """A number that always shows its sign, unless it rounds to zero."""
    text = number(value, places)
    return text if text.startswith("−") or not text.strip("0.") else f"+{text}"


def share(value: float) -> str:
    """A share in per cent; nothing where there is none."""
    return "" if math.isnan(value) else f"{value:.0%}"


def shortened(text: str, limit: int) -> str:
    """Text fit to be shown: invisible and broken characters made visible, cut at `limit` characters."""
    shown = "".join("\ufffd" if _unshowable(character) else character for character in text[:limit])
    return shown if len(text) <= limit else f"{shown}…"


def _unshowable(character: str) -> bool:
    code = ord(character)
    turns_text_around = 0x202A <= code <= 0x202E or 0x2066 <= code <= 0x2069
    return (
        turns_text_around or (code < 0x20 and character not in "\t\n") or 0x7F <= code < 0xA0 or 0xD800 <= code < 0xE000
    )


def _listed(judged: Sequence[tuple[str, str, str]], direction: str) -> str:
    """Such as: reward and shapes (train, heldout) and colourfulness (train). A single prompt set needs no mention."""
    places: dict[str, list[str]] = {}
    for reward, prompt_set, found in judged:
        if found == direction:
            places.setdefault(reward, []).append(prompt_set)
    if len(_sets(judged)) == 1:
        return _joined(list(places))
    together: dict[str, list[str]] = {}
    for reward, prompt_sets in places.items():
        together.setdefault(", ".join(prompt_sets), []).append(reward)
    return _joined([f"{_joined(rewards)} ({prompt_sets})" for prompt_sets, rewards in together.items()])


def _sets(judged: Sequence[tuple[str, str, str]]) -> list[str]:
    return list(dict.fromkeys(prompt_set for _, prompt_set, _ in judged))


def _joined(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]]) if len(words) > 1 else "".join(words)
