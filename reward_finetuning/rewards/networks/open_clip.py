"""Conversion of CLIP weights and prompts from open_clip, the format of hpsv2, to CLIPModel of transformers."""

from __future__ import annotations

import html
from typing import Any

from torch import Tensor

from reward_finetuning.rewards.networks.checkpoints import State

_TOWERS = {
    "transformer.resblocks.": "text_model.encoder.layers.",
    "visual.transformer.resblocks.": "vision_model.encoder.layers.",
}
_BLOCK = {
    "attn.out_proj.": "self_attn.out_proj.",
    "ln_1.": "layer_norm1.",
    "ln_2.": "layer_norm2.",
    "mlp.c_fc.": "mlp.fc1.",
    "mlp.c_proj.": "mlp.fc2.",
}
_NAMES = {
    "logit_scale": "logit_scale",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
}
# open_clip multiplies by these matrices from the right. nn.Linear multiplies by the transpose of its weight.
_PROJECTIONS = {"text_projection": "text_projection.weight", "visual.proj": "visual_projection.weight"}


def vit_h_14() -> Any:
    """The CLIPConfig of open_clip's ViT-H-14, the base model of HPSv2."""
    from transformers import CLIPConfig

    return CLIPConfig(
        projection_dim=1024,
        text_config=_tower(hidden_size=1024, num_hidden_layers=24),
        vision_config=_tower(hidden_size=1280, num_hidden_layers=32) | {"image_size": 224, "patch_size": 14},
    )


def as_transformers(state: State) -> State:
    """Weights of open_clip with the names of CLIPModel. Unknown names stay, and `fill` refuses them."""
    renamed: State = {}
    for name, value in state.items():
        if name in _PROJECTIONS:
            renamed[_PROJECTIONS[name]] = value.T.contiguous()
        else:
            renamed |= _renamed(name, value)
    return renamed


def clean(prompt: str) -> str:
    """A prompt as open_clip passes it to its tokenizer: with repaired Unicode and resolved HTML entities."""
    from ftfy import fix_text

    return html.unescape(html.unescape(fix_text(prompt))).strip()


def _renamed(name: str, value: Tensor) -> State:
    tower = next((tower for tower in _TOWERS if name.startswith(tower)), None)
    if tower is None:
        return {_NAMES.get(name, name): value}
    number, _, rest = name.removeprefix(tower).partition(".")
    layer = f"{_TOWERS[tower]}{number}."
    if rest.startswith("attn.in_proj_"):
        kind = rest.removeprefix("attn.in_proj_")
        return {
            f"{layer}self_attn.{role}_proj.{kind}": third for role, third in zip("qkv", value.chunk(3), strict=True)
        }
    old = next((old for old in _BLOCK if rest.startswith(old)), None)
    return {f"{layer}{_BLOCK[old]}{rest.removeprefix(old)}": value} if old else {name: value}


def _tower(*, hidden_size: int, num_hidden_layers: int) -> dict[str, Any]:
    return {
        "hidden_size": hidden_size,
        "intermediate_size": 4 * hidden_size,
        "num_attention_heads": 16,
        "num_hidden_layers": num_hidden_layers,
        "hidden_act": "gelu",
    }
