"""HPSv2, v2.1: the network of `hpsv2` with weights of a later training. Its scores are not comparable with v2.0.

Scale: the cosine, about 0.25 for pictures of Stable Diffusion v1.4.
"""

from __future__ import annotations

from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.models.hpsv2 import load_version
from reward_finetuning.rewards.protocol import Scorer

MODEL = MODELS["hpsv2_1"]


def load(settings: ScorerConfig) -> Scorer:
    """HPSv2 v2.1 as a cosine, float64 [B] in [-1, 1]."""
    return load_version(MODEL, settings)
