"""What a scorer is, and what makes one from settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from reward_finetuning.config.sections.reward import ScorerConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Scorer(Protocol):
    """Scores pictures against their prompts; higher is better."""

    def __call__(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Rewards [B] of pictures [B, H, W, 3] drawn for `prompts` [B]."""
        ...


@runtime_checkable
class SeesPictures(Protocol):
    """What a scorer may offer besides: where it sees pictures, distances say how different they are."""

    def image_features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit features [B, D] of pictures [B, H, W, 3]."""
        ...


Scorers = Callable[[], "Mapping[str, Scorer]"]
"""Gives the loaded scorers by name; called only where something is scored, for loading takes gigabytes and minutes."""


class ScorerModule(Protocol):
    """A module that makes a scorer from settings; the registry names it without a colon."""

    def check(self, settings: ScorerConfig) -> None:
        """Refuse settings and files that cannot work, before any GPU second; imports nothing heavy.

        Raises:
            UserError: saying what was given and what would be right.
        """
        ...

    def digest(self, settings: ScorerConfig) -> str:
        """What the scores depend on besides the pictures: sha256 of the weights, "" where there are none."""
        ...

    def load(self, settings: ScorerConfig) -> Scorer:
        """The scorer, its weights loaded once."""
        ...
