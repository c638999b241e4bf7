"""Registry of scorers: built-in scorers, plug-ins, and scorers served over HTTP."""

from __future__ import annotations

import pkgutil
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import partial
from importlib import import_module
from typing import cast

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.rewards.function import FunctionScorer
from reward_finetuning.rewards.models.hpsv3 import Hpsv3Scorer
from reward_finetuning.rewards.models.model import ModelScorer
from reward_finetuning.rewards.ocr import OcrScorer
from reward_finetuning.rewards.official import environment as official
from reward_finetuning.rewards.plugins import plugin
from reward_finetuning.rewards.protocol import ChecksPrompts, ReportsUsage, Scorer, ScorerModule, Scorers

__all__ = [
    "Scorer",
    "ScorerModule",
    "Scorers",
    "check_prompts",
    "check_scorers",
    "load_scorers",
    "scorer_digests",
    "usage",
]

# A target with a colon is a function. A target without a colon is a module that loads the model of the same name in the
# catalogue.
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
# Scorers that cannot judge every prompt: a function that raises ValueError for a prompt that they cannot judge.
_PROMPT_CHECKS = {
    "shapes": "reward_finetuning.shapes.scene:parse",
    "shapes_exact": "reward_finetuning.shapes.scene:parse",
}
_OWN_MODULES: dict[str, Callable[[], ScorerModule]] = {"hpsv3": Hpsv3Scorer, "ocr": OcrScorer}
_JUDGE = "reward_finetuning.rewards.judge.chat"
_SERVED = "reward_finetuning.rewards.remote.http"


def check_scorers(config: RewardConfig) -> None:
    """Refuse unknown names and invalid settings, without loading the dependencies of scorers."""
    for name, settings in _settings(config).items():
        _module(name, settings).check(settings)


def check_prompts(config: RewardConfig, source: str, prompts: Sequence[str]) -> None:
    """Refuse prompts that a scorer cannot judge, before any picture is drawn for them.

    Args:
        config: names the scorers.
        source: of the prompts, for the message.
        prompts: their texts.

    Raises:
        UserError: naming the scorer, the number of such prompts and the first of them.
    """
    for name, settings in _settings(config).items():
        module = _module(name, settings)
        refusals = [_refusal(module, prompt) for prompt in prompts] if isinstance(module, ChecksPrompts) else []
        reasons = [reason for reason in refusals if reason is not None]
        if reasons:
            raise UserError(
                f"scorer {name} cannot judge {len(reasons)} of {len(prompts)} prompts of {source}, the first one: "
                f"{reasons[0]}; use other prompts, or another scorer in reward.weights"
            )


def scorer_digests(config: RewardConfig) -> dict[str, str]:
    """`reward.<scorer>.digest` -> digest of its weights, for the fingerprint; without scorers that have no weights.

    Raises:
        RetryableError: a served scorer does not answer.
    """
    digests = {name: _module(name, settings).digest(settings) for name, settings in _settings(config).items()}
    return {f"reward.{name}.digest": digest for name, digest in digests.items() if digest}


def load_scorers(config: RewardConfig, names: Collection[str] | None = None) -> dict[str, Scorer]:
    """The scorers of the config, or those of the given names.

    Raises:
        UserError: a name is unknown, or its settings or files are invalid.
    """
    check_scorers(config)
    settings = {name: each for name, each in _settings(config).items() if names is None or name in names}
    return {name: _module(name, each).load(each) for name, each in settings.items()}


def usage(scorers: Mapping[str, Scorer]) -> dict[str, float]:
    """What the scorers that cost money have used since they were loaded, as `SCORER/NAME` -> count."""
    costly = {name: scorer for name, scorer in scorers.items() if isinstance(scorer, ReportsUsage)}
    return {f"{name}/{what}": count for name, each in costly.items() for what, count in each.usage().items()}


def _refusal(module: ChecksPrompts, prompt: str) -> str | None:
    try:
        module.check_prompt(prompt)
    except ValueError as error:
        return str(error)
    return None


def _settings(config: RewardConfig) -> dict[str, ScorerConfig]:
    return {name: config.scorers.get(name, ScorerConfig()) for name in config.weights}


def _module(name: str, settings: ScorerConfig) -> ScorerModule:
    """The module that creates scorer `name`: by `chat`, `url` or `use`, or from the registry."""
    if settings.url is not None:
        return cast("ScorerModule", import_module(_SERVED if settings.chat is None else _JUDGE))
    if settings.use is not None:
        return plugin(name, settings.use)
    if name in official.NAMES:
        return official.official_scorer(name)
    if name in _OWN_MODULES:
        return _OWN_MODULES[name]()
    if name not in _SCORERS:
        names = ", ".join(sorted({*_SCORERS, *_OWN_MODULES}))
        others = f"or set reward.scorers.{name}.use (a plug-in) or .url (a server)"
        raise UserError(f"reward.weights: no scorer {name!r}; choose from {names}; {others}")
    target = _SCORERS[name]
    if ":" in target:
        check = _PROMPT_CHECKS.get(name)
        find_check = None if check is None else partial(pkgutil.resolve_name, check)
        return FunctionScorer(name, partial(pkgutil.resolve_name, target), find_check)
    return ModelScorer(name, target)
