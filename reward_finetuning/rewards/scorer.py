"""What a scorer is, and the scorers by name."""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from typing import TYPE_CHECKING, Protocol, cast

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.reward import RewardConfig, ScorerConfig

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_SCORERS = {
    "aesthetic": "reward_finetuning.rewards.aesthetic",
    "clip_score": "reward_finetuning.rewards.clip_score",
    "colourfulness": "reward_finetuning.rewards.colourfulness:colourfulness",
    "hpsv2": "reward_finetuning.rewards.hpsv2",
    "hpsv2_1": "reward_finetuning.rewards.hpsv2_1",
    "hpsv2_1_official": "reward_finetuning.rewards.official.hpsv2_1",
    "hpsv2_official": "reward_finetuning.rewards.official.hpsv2",
    "image_reward": "reward_finetuning.rewards.image_reward",
    "image_reward_official": "reward_finetuning.rewards.official.image_reward",
    "pickscore": "reward_finetuning.rewards.pickscore",
    "shapes": "reward_finetuning.rewards.shapes:shapes_reward",
    "shapes_exact": "reward_finetuning.rewards.shapes:shapes_exact",
}


class Scorer(Protocol):
    """Scores pictures against their prompts; higher is better."""

    def __call__(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Rewards [B] of pictures [B, H, W, 3] drawn for `prompts` [B]."""
        ...


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


def check_scorers(config: RewardConfig) -> None:
    """Refuse names that stand for no scorer, and settings that cannot work; needs nothing of what scorers need."""
    if unknown := sorted(config.weights.keys() - _SCORERS.keys()):
        raise UserError(f"reward.weights: no scorer {', '.join(map(repr, unknown))}; choose from {', '.join(_SCORERS)}")
    for name in config.weights:
        settings = config.scorers.get(name, ScorerConfig())
        if ":" not in _SCORERS[name]:
            _module(name).check(settings)
        elif settings != ScorerConfig():
            raise UserError(f"reward.scorers.{name}: this scorer has no settings")


def scorer_digests(config: RewardConfig) -> dict[str, str]:
    """`reward.<scorer>.digest` -> what its scores depend on, for the fingerprint; scorers without weights have none."""
    digests = {
        name: _module(name).digest(config.scorers.get(name, ScorerConfig()))
        for name in config.weights
        if ":" not in _SCORERS[name]
    }
    return {f"reward.{name}.digest": digest for name, digest in digests.items() if digest}


def load_scorers(config: RewardConfig) -> dict[str, Scorer]:
    """The scorers that the config names.

    Raises:
        UserError: a name stands for none, or its settings or files are wrong.
    """
    check_scorers(config)
    scorers: dict[str, Scorer] = {}
    for name in config.weights:
        module, _, function = _SCORERS[name].partition(":")
        if function:
            scorers[name] = getattr(import_module(module), function)
        else:
            scorers[name] = _module(name).load(config.scorers.get(name, ScorerConfig()))
    return scorers


def _module(name: str) -> ScorerModule:
    return cast("ScorerModule", import_module(_SCORERS[name]))
