"""Adapter that turns a function of pictures and prompts into a ScorerModule."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.protocol import Scorer


@dataclass(frozen=True, slots=True)
class FunctionScorer:
    """A scorer without weights. It has no settings and no digest, so its scores are not cached."""

    name: str
    find: Callable[[], Scorer]
    """Called when the scorer is loaded, so that checking a config imports nothing."""

    find_check: Callable[[], Callable[[str], object]] | None = None
    """Gives a check of a prompt; None accepts all."""

    def check(self, settings: ScorerConfig) -> None:
        """Refuse every setting except `use`, which selects the function, and with it `groupwise`."""
        groupwise = settings.groupwise and settings.use is not None
        unsupported = differing(settings, ScorerConfig(use=settings.use, groupwise=groupwise))
        if unsupported:
            raise UserError(
                f"reward.scorers.{self.name}: this scorer is a function and has no {', '.join(unsupported)}"
            )

    def check_prompt(self, prompt: str) -> None:
        """See ChecksPrompts."""
        if self.find_check is not None:
            self.find_check()(prompt)

    def digest(self, settings: ScorerConfig) -> str:
        """Empty: a function has no weights."""
        return ""

    def load(self, settings: ScorerConfig) -> Scorer:
        """The function."""
        return self.find()


def differing(settings: ScorerConfig, allowed: ScorerConfig) -> list[str]:
    """Names of the settings that differ from `allowed`."""
    return [field for field in ScorerConfig.model_fields if getattr(settings, field) != getattr(allowed, field)]
