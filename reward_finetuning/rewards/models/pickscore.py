"""PickScore (arXiv:2305.01569): CLIP ViT-H/14 trained on human choices between two pictures.

Scale: the cosine, about 0.2, as in the tables of PRDP. The code of the authors multiplies it by exp(logit_scale) = 100,
and Flow-GRPO divides that by 26.
"""

from __future__ import annotations

from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.protocol import Scorer

MODEL = MODELS["pickscore"]


def load(settings: ScorerConfig) -> Scorer:
    """PickScore as a cosine, float64 [B] in [-1, 1]."""
    from reward_finetuning.rewards.networks.checkpoints import read_state
    from reward_finetuning.rewards.networks.clip_towers import ClipCosine, check_logit_scale, clip_config, clip_network
    from reward_finetuning.rewards.networks.preprocessing import clip_crop
    from reward_finetuning.rewards.networks.vocabularies import clip_tokenizer

    files = sources.locate(MODEL, settings)
    state = read_state(files["weights"])
    check_logit_scale(state, files["weights"])
    network = clip_network(state, clip_config(files["config"]), files["weights"], settings)
    return ClipCosine(network, clip_tokenizer(files), clip_crop)
