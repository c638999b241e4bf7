"""A plain function of pictures and prompts in the place of a ScorerModule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.protocol import Scorer


@dataclass(frozen=True, slots=True)
class FunctionScorer:
    """A scorer without weights: it has no settings, and no digest, so its scores are not cached."""

    name: str
    find: Callable[[], Scorer]  # called when scores are needed: checking a config imports nothing

    def check(self, settings: ScorerConfig) -> None:
        """Refuse every setting but the one that says which function it is."""
        if given := differing(settings, ScorerConfig(use=settings.use)):
            raise UserError(f"reward.scorers.{self.name}: this scorer is a plain function, without {', '.join(given)}")

    def digest(self, settings: ScorerConfig) -> str:
        """None."""
        return ""

    def load(self, settings: ScorerConfig) -> Scorer:
        """The function."""
        return self.find()


def differing(settings: ScorerConfig, allowed: ScorerConfig) -> list[str]:
    """Names of the settings that are not as in `allowed`."""
    return [field for field in ScorerConfig.model_fields if getattr(settings, field) != getattr(allowed, field)]
