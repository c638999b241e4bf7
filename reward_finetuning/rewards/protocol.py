"""Protocols of a scorer, and of a module that creates a scorer from settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from reward_finetuning.config.sections.reward import ScorerConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Scorer(Protocol):
    """Scores pictures for their prompts; higher is better."""

    def __call__(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Rewards [B] of pictures [B, H, W, 3] for `prompts` [B].

        Of a groupwise scorer (`reward.scorers.NAME.groupwise`), the B pictures are all K images of one prompt in the
        order of their numbers, and the B prompts are equal.
        """
        ...


@runtime_checkable
class ImageFeatures(Protocol):
    """Optional interface of a scorer: image features whose distances measure how different pictures are."""

    def image_features(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Unit features [B, D] of pictures [B, H, W, 3]."""
        ...


@runtime_checkable
class ReportsUsage(Protocol):
    """Optional interface of a scorer that costs money: what it has used since it was loaded."""

    def usage(self) -> Mapping[str, float]:
        """Name of a count, such as requests or cost -> its value; each becomes the metric `reward/SCORER/NAME`."""
        ...


@runtime_checkable
class ChecksPrompts(Protocol):
    """What a scorer's module may offer besides: which prompts its scorer can judge, known before any picture."""

    def check_prompt(self, prompt: str) -> None:
        """Refuse a prompt that the scorer cannot judge; imports nothing heavy.

        Raises:
            ValueError: saying why.
        """
        ...


Scorers = Callable[[], "Mapping[str, Scorer]"]
"""Returns the loaded scorers by name. It is called only if something is scored, because loading is expensive."""


class ScorerModule(Protocol):
    """A module that creates a scorer from settings. The registry names it without a colon."""

    def check(self, settings: ScorerConfig) -> None:
        """Refuse invalid settings and files before any work, without heavy imports.

        Raises:
            UserError: with the given value and the expected value.
        """
        ...

    def digest(self, settings: ScorerConfig) -> str:
        """sha256 of the weights on which the scores depend; "" without weights."""
        ...

    def load(self, settings: ScorerConfig) -> Scorer:
        """The scorer with its weights loaded."""
        ...
