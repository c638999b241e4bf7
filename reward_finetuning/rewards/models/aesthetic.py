"""LAION's aesthetic predictor v2 (sac+logos+ava1, L/14, linear MSE): independent of the prompt.

Scale: raw, about 1 to 10, about 5.5 for Stable Diffusion v1.4, as in the tables of DDPO and PRDP. The predictor has
five linear layers without activations on the unit CLIP ViT-L/14 feature. LAION's `sa_0_4_vit_l_14_linear.pth` is a
different predictor with one layer.
"""

from __future__ import annotations

from typing import Any

from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.protocol import Scorer

MODEL = MODELS["aesthetic"]


def load(settings: ScorerConfig) -> Scorer:
    """The predictor: raw scores, float64 [B]."""
    import torch

    from reward_finetuning.rewards.networks.checkpoints import fill, part, read_state
    from reward_finetuning.rewards.networks.clip_towers import ClipImageScore, clip_config
    from reward_finetuning.rewards.networks.devices import torch_device, torch_dtype
    from reward_finetuning.rewards.networks.linear_head import linear_head
    from reward_finetuning.rewards.networks.preprocessing import clip_crop

    files = sources.locate(MODEL, settings)
    tower = _tower(clip_config(files["config"]))
    # Only the vision tower of the CLIP model is used.
    clip = read_state(files["weights"])
    vision = {name: value for name, value in clip.items() if name.startswith(("vision_model.", "visual_projection."))}
    network = fill(tower, vision, files["weights"], torch_dtype(settings)).to(torch_device(settings))
    layers = read_state(files["head"], sha256=MODEL.files["head"].sha256)
    head = fill(
        lambda: linear_head(network.config.projection_dim), part(layers, "layers."), files["head"], torch.float32
    )
    return ClipImageScore(network, clip_crop, head.to(torch_device(settings)))


def _tower(config: Any) -> Any:
    from transformers import CLIPVisionModelWithProjection

    vision = config.vision_config
    vision.projection_dim = config.projection_dim
    return lambda: CLIPVisionModelWithProjection(vision)
