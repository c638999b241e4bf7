"""The official packages as scorers of their own names, and what is said where they are not installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.protocol import Scorer

_PACKAGES = {"hpsv2": "hpsv2", "hpsv2_1": "hpsv2", "image_reward": "ImageReward"}
_SUFFIX = "_official"
NAMES = tuple(f"{model}{_SUFFIX}" for model in _PACKAGES)


@dataclass(frozen=True, slots=True)
class OfficialScorer:
    """A ScorerModule for `<model>_official`."""

    name: str

    def check(self, settings: ScorerConfig) -> None:
        """Refuse where the package is missing, and settings and folders that cannot work."""
        model = self.name.removesuffix(_SUFFIX)
        if find_spec(_PACKAGES[model]) is None:
            raise UserError(
                f"scorer {self.name} needs the package {_PACKAGES[model]}, which only the scorer environment has: "
                f"serve it there (python -m pipelines.serve_rewards {self.name}), give reward.scorers.{self.name}.url"
            )
        sources.check(MODELS[model], settings)

    def digest(self, settings: ScorerConfig) -> str:
        """sha256 over weights and vocabulary."""
        return sources.digest(MODELS[self.name.removesuffix(_SUFFIX)], settings)

    def load(self, settings: ScorerConfig) -> Scorer:
        """The package's own score, one call a picture."""
        module = import_module(f"reward_finetuning.rewards.official.{self.name.removesuffix(_SUFFIX)}")
        scorer: Scorer = module.load(settings)
        return scorer
