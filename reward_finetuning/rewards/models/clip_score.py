"""CLIP score (arXiv:2104.08718) with OpenAI's ViT-L/14: similarity of a picture and its prompt.

Scale: the cosine, rarely above 0.4. The paper reports 2.5 max(cosine, 0) with ViT-B/32, and torchmetrics reports
100 max(cosine, 0). Other backbones have other scales.
"""

from __future__ import annotations

from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.protocol import Scorer

MODEL = MODELS["clip_score"]


def load(settings: ScorerConfig) -> Scorer:
    """The cosine, float64 [B] in [-1, 1]."""
    from reward_finetuning.rewards.networks.checkpoints import read_state
    from reward_finetuning.rewards.networks.clip_towers import ClipCosine, clip_config, clip_network
    from reward_finetuning.rewards.networks.preprocessing import clip_crop
    from reward_finetuning.rewards.networks.vocabularies import clip_tokenizer

    files = sources.locate(MODEL, settings)
    network = clip_network(read_state(files["weights"]), clip_config(files["config"]), files["weights"], settings)
    return ClipCosine(network, clip_tokenizer(files), clip_crop)
