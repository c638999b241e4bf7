"""ScorerModule for the reward models of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.protocol import Scorer


@dataclass(frozen=True, slots=True)
class ModelScorer:
    """A ScorerModule from a model of the catalogue and a module with `load(settings) -> Scorer`."""

    model: str
    module: str

    def check(self, settings: ScorerConfig) -> None:
        """Refuse invalid settings and folders."""
        sources.check(MODELS[self.model], settings)

    def digest(self, settings: ScorerConfig) -> str:
        """sha256 of all files of the model."""
        return sources.digest(MODELS[self.model], settings)

    def load(self, settings: ScorerConfig) -> Scorer:
        """The scorer with its weights loaded."""
        scorer: Scorer = import_module(self.module).load(settings)
        return scorer
