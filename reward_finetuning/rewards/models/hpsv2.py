"""HPSv2 (arXiv:2306.09341), v2.0: CLIP ViT-H/14 trained on human rankings of pictures.

Scale: the cosine, about 0.27 for pictures of Stable Diffusion v1.4. The tables of the authors show it times 100. PRDP
does not state its version. The scores in its table match v2.0, which is also the default of hpsv2.score. `hpsv2_1` is
v2.1.
"""

from __future__ import annotations

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS, Model
from reward_finetuning.rewards.protocol import Scorer

MODEL = MODELS["hpsv2"]


def load(settings: ScorerConfig) -> Scorer:
    """HPSv2 v2.0 as a cosine, float64 [B] in [-1, 1]."""
    return load_version(MODEL, settings)


def load_version(model: Model, settings: ScorerConfig) -> Scorer:
    """A version of HPSv2. A config.json next to the weights can define another architecture than ViT-H-14."""
    from reward_finetuning.rewards.networks.checkpoints import read_state
    from reward_finetuning.rewards.networks.clip_towers import ClipCosine, check_logit_scale, clip_config, clip_network
    from reward_finetuning.rewards.networks.open_clip import as_transformers, clean, vit_h_14
    from reward_finetuning.rewards.networks.preprocessing import hps_pad
    from reward_finetuning.rewards.networks.vocabularies import clip_tokenizer

    try:
        clean("")
    except ImportError as error:
        raise UserError(f"{model.scorer} needs ftfy to clean prompts as its authors do: pip install ftfy") from error
    files = sources.locate(model, settings)
    state = read_state(files["weights"])
    check_logit_scale(state, files["weights"])
    config = clip_config(files["config"]) if "config" in files else vit_h_14()
    network = clip_network(as_transformers(state), config, files["weights"], settings)
    return ClipCosine(network, clip_tokenizer(files), hps_pad, clean)
