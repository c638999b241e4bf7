"""ImageReward v1.0 (arXiv:2304.05977): BLIP trained on human rankings of pictures of one prompt.

Scale: (head - 0.16717) / 1.03334. On the data of the authors, the mean is 0 and the standard deviation is 1.
"""

from __future__ import annotations

from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.protocol import Scorer

MODEL = MODELS["image_reward"]


def load(settings: ScorerConfig) -> Scorer:
    """ImageReward: normalised scores, float64 [B]."""
    import torch

    from reward_finetuning.rewards.networks.blip import (
        ImageRewardNetwork,
        ImageRewardScorer,
        as_transformers,
        blip_configs,
    )
    from reward_finetuning.rewards.networks.checkpoints import fill, read_state
    from reward_finetuning.rewards.networks.devices import torch_device, torch_dtype
    from reward_finetuning.rewards.networks.vocabularies import bert_tokenizer

    files = sources.locate(MODEL, settings)
    configs = blip_configs(files.get("config"))
    state = as_transformers(read_state(files["weights"]))
    network = fill(lambda: ImageRewardNetwork(*configs), state, files["weights"], torch_dtype(settings))
    network.head.to(torch.float32)
    return ImageRewardScorer(network.to(torch_device(settings)), bert_tokenizer(files))
