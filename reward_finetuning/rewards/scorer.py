"""The scorers by name: ours, plug-ins, and those that a server gives."""

from __future__ import annotations

import pkgutil
from functools import partial
from importlib import import_module
from typing import cast

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.rewards.function import FunctionScorer
from reward_finetuning.rewards.models.model import ModelScorer
from reward_finetuning.rewards.official import environment as official
from reward_finetuning.rewards.plugins import plugin
from reward_finetuning.rewards.protocol import Scorer, ScorerModule, Scorers

__all__ = ["Scorer", "ScorerModule", "Scorers", "check_scorers", "load_scorers", "scorer_digests"]

# A function is named with a colon; without one a module that loads the catalogue's model of the scorer's name.
_SCORERS = {
    "aesthetic": "reward_finetuning.rewards.models.aesthetic",
    "clip_score": "reward_finetuning.rewards.models.clip_score",
    "colourfulness": "reward_finetuning.rewards.colourfulness:colourfulness",
    "hpsv2": "reward_finetuning.rewards.models.hpsv2",
    "hpsv2_1": "reward_finetuning.rewards.models.hpsv2_1",
    "image_reward": "reward_finetuning.rewards.models.image_reward",
    "pickscore": "reward_finetuning.rewards.models.pickscore",
    "shapes": "reward_finetuning.rewards.shapes:shapes_reward",
    "shapes_exact": "reward_finetuning.rewards.shapes:shapes_exact",
    "jpeg_compressibility": "reward_finetuning.rewards.jpeg:jpeg_compressibility",
    "jpeg_incompressibility": "reward_finetuning.rewards.jpeg:jpeg_incompressibility",
}
_SERVED = "reward_finetuning.rewards.remote.http"


def check_scorers(config: RewardConfig) -> None:
    """Refuse names that stand for no scorer, and settings that cannot work; needs nothing of what scorers need."""
    for name, settings in _settings(config).items():
        _module(name, settings).check(settings)


def scorer_digests(config: RewardConfig) -> dict[str, str]:
    """`reward.<scorer>.digest` -> what its scores depend on, for the fingerprint; scorers without weights have none.

    Raises:
        RetryableError: a served scorer does not answer.
    """
    digests = {name: _module(name, settings).digest(settings) for name, settings in _settings(config).items()}
    return {f"reward.{name}.digest": digest for name, digest in digests.items() if digest}


def load_scorers(config: RewardConfig) -> dict[str, Scorer]:
    """The scorers that the config names.

    Raises:
        UserError: a name stands for none, or its settings or files are wrong.
    """
    check_scorers(config)
    return {name: _module(name, settings).load(settings) for name, settings in _settings(config).items()}


def _settings(config: RewardConfig) -> dict[str, ScorerConfig]:
    return {name: config.scorers.get(name, ScorerConfig()) for name in config.weights}


def _module(name: str, settings: ScorerConfig) -> ScorerModule:
    """Who makes the scorer called `name`: a server or a plug-in where the settings say so, else the registry."""
    if settings.url is not None:
        return cast("ScorerModule", import_module(_SERVED))
    if settings.use is not None:
        return plugin(name, settings.use)
    if name in official.NAMES:
        return official.official_scorer(name)
    if name not in _SCORERS:
        known = ", ".join(sorted(_SCORERS))
        others = f"or give reward.scorers.{name} a plug-in (use) or a server (url)"
        raise UserError(f"reward.weights: no scorer {name!r}; choose from {known}; {others}")
    target = _SCORERS[name]
    if ":" in target:
        return FunctionScorer(name, partial(pkgutil.resolve_name, target))
    return ModelScorer(name, target)
