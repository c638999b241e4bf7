"""The network of ImageReward: vision tower and text encoder of BLIP with cross-attention, and a linear head."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor, nn

from reward_finetuning.config.errors import UserError
from reward_finetuning.rewards.networks.batching import score_in_micro_batches
from reward_finetuning.rewards.networks.blip_attention import fuse_attention
from reward_finetuning.rewards.networks.checkpoints import State
from reward_finetuning.rewards.networks.linear_head import linear_head
from reward_finetuning.rewards.networks.preprocessing import blip_crop

_VISION = {
    "patch_embed.proj.": "embeddings.patch_embedding.",
    "pos_embed": "embeddings.position_embedding",
    "cls_token": "embeddings.class_embedding",
    "norm.": "post_layernorm.",
}
_VISION_BLOCK = {
    "attn.qkv.": "self_attn.qkv.",
    "attn.proj.": "self_attn.projection.",
    "norm1.": "layer_norm1.",
    "norm2.": "layer_norm2.",
}
# Weights of BLIP's contrastive pretraining, which the reward does not use.
_UNUSED = ("blip.vision_proj.", "blip.text_proj.")
# BLIP ViT-L with BERT base; the text encoder matches med_config.json of image-reward.
_PUBLISHED: dict[str, dict[str, Any]] = {
    "vision_config": {
        "hidden_size": 1024,
        "intermediate_size": 4096,
        "num_hidden_layers": 24,
        "num_attention_heads": 16,
    },
    "text_config": {"hidden_size": 768, "intermediate_size": 3072, "num_hidden_layers": 12, "num_attention_heads": 12},
}


_MEAN, _STD = 0.16717362830052426, 1.0333394966054072  # image-reward 1.5, ImageReward.py
_MAX_TOKENS = 35


class ImageRewardNetwork(nn.Module):
    """Reward head on the feature of a picture and a prompt, the first position of the text encoder."""

    def __init__(self, vision: Any, text: Any) -> None:
        """From a BlipVisionConfig and a BlipTextConfig."""
        from transformers import BlipTextModel, BlipVisionModel

        super().__init__()
        self.vision = BlipVisionModel(vision)
        self.text = BlipTextModel(text, add_pooling_layer=False)
        fuse_attention(self.vision, self.text)
        self.head = linear_head(text.hidden_size)

    def forward(self, pixels: Tensor, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """[B] raw output of the head for pixels [B, 3, 224, 224] and tokens [B, L]."""
        patches = self.vision(pixel_values=pixels).last_hidden_state
        # The cross-attention has no mask: it attends to every patch.
        output = self.text(input_ids=input_ids, attention_mask=attention_mask, encoder_hidden_states=patches)
        return self.head(output.last_hidden_state[:, 0].float())[:, 0]


class ImageRewardScorer:
    """The network with its tokenizer. Text features depend on the picture, so they are computed for every pair."""

    def __init__(self, network: ImageRewardNetwork, tokenizer: Any) -> None:
        """A network on its device, and its tokenizer."""
        self._network, self._tokenizer = network, tokenizer

    def __call__(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Rewards [B] of pictures [B, H, W, 3] uint8 for `prompts` [B]."""
        size = self._network.vision.config.image_size
        return score_in_micro_batches(images, prompts, blip_crop, size, self._score)

    def _score(self, pixels: Tensor, prompts: Sequence[str]) -> Tensor:
        tokens = self._tokenizer(
            list(prompts), padding="longest", truncation=True, max_length=_MAX_TOKENS, return_tensors="pt"
        ).to(self._network.vision.device)
        raw = self._network(pixels.to(self._network.vision.device), tokens.input_ids, tokens.attention_mask)
        return (raw - _MEAN) / _STD


def blip_configs(path: Path | None) -> tuple[Any, Any]:
    """The configs of both towers: the published configs, or those of a config.json.

    Raises:
        UserError: the file has no vision_config or text_config.
    """
    from transformers import BlipTextConfig, BlipVisionConfig

    tree = _PUBLISHED
    if path is not None:
        try:
            tree = json.loads(path.read_text(encoding="utf-8"))
            vision, text = dict(tree["vision_config"]), dict(tree["text_config"])
        except (ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{path} must contain vision_config and text_config of BLIP, or be removed: {error!r}"
            ) from error
    else:
        vision, text = tree["vision_config"], tree["text_config"]
    return (
        BlipVisionConfig(**{"image_size": 224, "patch_size": 16, "layer_norm_eps": 1e-6, **vision}),
        BlipTextConfig(
            **{
                "vocab_size": 30524,
                "max_position_embeddings": 512,
                "encoder_hidden_size": vision["hidden_size"],
                **text,
            }
        ),
    )


def as_transformers(state: State) -> State:
    """Weights of image-reward with the names of `ImageRewardNetwork`. Unknown names stay, and `fill` refuses them."""
    return {_renamed(name): value for name, value in state.items() if not name.startswith(_UNUSED)}


def _renamed(name: str) -> str:
    if name.startswith("blip.text_encoder."):
        return "text." + name.removeprefix("blip.text_encoder.")
    if name.startswith("mlp.layers."):
        return "head." + name.removeprefix("mlp.layers.")
    if not name.startswith("blip.visual_encoder."):
        return name
    rest = name.removeprefix("blip.visual_encoder.")
    if rest.startswith("blocks."):
        _, number, rest = rest.split(".", 2)
        return f"vision.encoder.layers.{number}.{_replace_prefix(rest, _VISION_BLOCK)}"
    return "vision." + _replace_prefix(rest, _VISION)


def _replace_prefix(name: str, prefixes: dict[str, str]) -> str:
    old = next((old for old in prefixes if name.startswith(old)), "")
    return prefixes.get(old, "") + name.removeprefix(old)
