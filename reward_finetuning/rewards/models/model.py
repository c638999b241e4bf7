"""A reward model with weights of its own: what its module need not say, because the catalogue knows its files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module

from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.protocol import Scorer


@dataclass(frozen=True, slots=True)
class ModelScorer:
    """A ScorerModule for a model of the catalogue and a module with `load(settings) -> Scorer`."""

    model: str
    module: str

    def check(self, settings: ScorerConfig) -> None:
        """Refuse settings and folders that cannot work."""
        sources.check(MODELS[self.model], settings)

    def digest(self, settings: ScorerConfig) -> str:
        """sha256 over all files that the model reads."""
        return sources.digest(MODELS[self.model], settings)

    def load(self, settings: ScorerConfig) -> Scorer:
        """The scorer, its weights loaded once."""
        scorer: Scorer = import_module(self.module).load(settings)
        return scorer
