"""What is wrong with a name in a config, whatever it leads to: known where a package is compiled, without a request."""

from __future__ import annotations

from reward_finetuning.config.evaluation_run import EvaluationRun
from reward_finetuning.config.externals import Kind, Setting, external_settings
from reward_finetuning.config.run import RunConfig
from reward_finetuning.inputs.places import Place, place_of
from reward_finetuning.policy.pretrained.source import pinned_revision
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS


def check_names(config: RunConfig | EvaluationRun) -> None:
    """Refuse a hub id that no task can follow. Unknown schemes are refused when the config is read.

    Raises:
        UserError: it has no commit, or settings that it cannot have.
    """
    for setting in external_settings(config):
        _check(setting, config)


def _check(setting: Setting, config: RunConfig | EvaluationRun) -> None:
    if place_of(setting) is not Place.HUB or setting.external.kind is Kind.PROMPTS:  # known by its content
        return
    if setting.external.kind is Kind.MODEL and config.model is not None:
        pinned_revision(config.model)
    elif config.reward is not None and (scorer := str(setting.path[2])) in MODELS:
        sources.check(MODELS[scorer], config.reward.scorers[scorer])
