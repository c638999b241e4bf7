"""What a scorer is, and the scorers by name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol

from reward_finetuning.config.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SCORERS = {
    "colourfulness": "reward_finetuning.rewards.colourfulness:colourfulness",
    "shapes": "reward_finetuning.rewards.shapes:shapes_reward",
    "shapes_exact": "reward_finetuning.rewards.shapes:shapes_exact",
}


class Scorer(Protocol):
    """Scores pictures against their prompts; higher is better."""

    def __call__(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Rewards [B] of pictures [B, H, W, 3] drawn for `prompts` [B]."""
        ...


def check_scorers(names: Iterable[str]) -> None:
    """Refuse names that stand for no scorer; needs nothing of what scorers need."""
    if unknown := sorted(set(names) - _SCORERS.keys()):
        raise UserError(f"reward.weights: no scorer {', '.join(map(repr, unknown))}; choose from {', '.join(_SCORERS)}")


def load_scorers(names: Iterable[str]) -> dict[str, Scorer]:
    """The scorers of these names.

    Raises:
        UserError: a name stands for none.
    """
    names = list(names)
    check_scorers(names)
    scorers: dict[str, Scorer] = {}
    for name in names:
        module, _, function = _SCORERS[name].partition(":")
        scorers[name] = getattr(import_module(module), function)
    return scorers
