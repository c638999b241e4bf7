"""The score of the official hpsv2 package, v2.1."""

from __future__ import annotations

from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.official.hpsv2 import load_version
from reward_finetuning.rewards.protocol import Scorer

MODEL = MODELS["hpsv2_1"]


def load(settings: ScorerConfig) -> Scorer:
    """hpsv2.score of v2.1, float64 [B]."""
    return load_version(MODEL, settings)
