"""The official packages as scorers `<model>_official`, and the error if a package is not installed."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.util import find_spec

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.models.model import ModelScorer

_PACKAGES = {"hpsv2": "hpsv2", "hpsv2_1": "hpsv2", "image_reward": "ImageReward"}
_SUFFIX = "_official"
NAMES = tuple(f"{model}{_SUFFIX}" for model in _PACKAGES)


@dataclass(frozen=True, slots=True)
class OfficialScorer(ModelScorer):
    """A ScorerModule for `<model>_official`."""

    def check(self, settings: ScorerConfig) -> None:
        """Refuse a missing package, and invalid settings and folders."""
        if find_spec(_PACKAGES[self.model]) is None:
            name = f"{self.model}{_SUFFIX}"
            raise UserError(
                f"scorer {name} needs the package {_PACKAGES[self.model]}, which only the scorer environment has: "
                f"serve it there (python -m reward_finetuning.pipelines.cli.serve_rewards {name}), "
                f"and set reward.scorers.{name}.url"
            )
        ModelScorer.check(self, settings)  # a slotted dataclass replaces the class, so super() fails


def official_scorer(name: str) -> OfficialScorer:
    """The official package of one of NAMES, with one call per picture."""
    model = name.removesuffix(_SUFFIX)
    return OfficialScorer(model, f"reward_finetuning.rewards.official.{model}")
