"""Conversion of a diffusers pipeline to the weight names of the original Stable Diffusion checkpoints.

The names are those of CompVis' latent-diffusion, Stability's generative-models (XL) and OpenCLIP. `from_single_file`
of diffusers is the inverse, and the tests compare with it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

_RESNET = (
    ("norm1", "in_layers.0"),
    ("conv1", "in_layers.2"),
    ("time_emb_proj", "emb_layers.1"),
    ("norm2", "out_layers.0"),
    ("conv2", "out_layers.3"),
    ("conv_shortcut", "skip_connection"),
)
_UNET_ENDS = (
    ("time_embedding.linear_1", "time_embed.0"),
    ("time_embedding.linear_2", "time_embed.2"),
    ("add_embedding.linear_1", "label_emb.0.0"),
    ("add_embedding.linear_2", "label_emb.0.2"),
    ("conv_in", "input_blocks.0.0"),
    ("conv_norm_out", "out.0"),
    ("conv_out", "out.2"),
    ("mid_block.resnets.0", "middle_block.0"),
    ("mid_block.attentions.0", "middle_block.1"),
    ("mid_block.resnets.1", "middle_block.2"),
)
_VAE = (
    (r"down_blocks\.(\d+)\.resnets\.(\d+)", r"down.\1.block.\2"),
    (r"down_blocks\.(\d+)\.downsamplers\.0", r"down.\1.downsample"),
    (r"up_blocks\.(\d+)\.resnets\.(\d+)", r"up.\1.block.\2"),
    (r"up_blocks\.(\d+)\.upsamplers\.0", r"up.\1.upsample"),
    (r"mid_block\.resnets\.0", "mid.block_1"),
    (r"mid_block\.resnets\.1", "mid.block_2"),
    (r"mid_block\.attentions\.0\.group_norm", "mid.attn_1.norm"),
    (r"mid_block\.attentions\.0\.to_out\.0", "mid.attn_1.proj_out"),
    (r"mid_block\.attentions\.0\.to_([qkv])", r"mid.attn_1.\1"),
    (r"conv_shortcut", "nin_shortcut"),
    (r"conv_norm_out", "norm_out"),
)
_OPEN_CLIP = (
    (r"^embeddings\.token_embedding\.weight", "token_embedding.weight"),
    (r"^embeddings\.position_embedding\.weight", "positional_embedding"),
    (r"^final_layer_norm", "ln_final"),
    (r"^encoder\.layers\.", "transformer.resblocks."),
    (r"\.layer_norm(\d)", r".ln_\1"),
    (r"\.mlp\.fc1", ".mlp.c_fc"),
    (r"\.mlp\.fc2", ".mlp.c_proj"),
    (r"\.self_attn\.out_proj", ".attn.out_proj"),
)


def original_state(pipeline: Any) -> dict[str, Tensor]:
    """All weights of a StableDiffusionPipeline or StableDiffusionXLPipeline with the original names."""
    state = _prefixed("model.diffusion_model.", _unet(pipeline.unet))
    state |= _prefixed("first_stage_model.", _vae(pipeline.vae))
    if hasattr(pipeline, "text_encoder_2"):
        state |= _prefixed("conditioner.embedders.0.transformer.text_model.", _clip(pipeline.text_encoder))
        return state | _prefixed("conditioner.embedders.1.model.", _open_clip(pipeline.text_encoder_2))
    # CLIP of OpenAI uses quick_gelu (1.x), OpenCLIP uses gelu (2.x).
    if pipeline.text_encoder.config.hidden_act == "quick_gelu":
        return state | _prefixed("cond_stage_model.transformer.text_model.", _clip(pipeline.text_encoder))
    return state | _prefixed("cond_stage_model.model.", _open_clip(pipeline.text_encoder))


def _unet(unet: Any) -> dict[str, Tensor]:
    """The original names number all blocks in one list. A down- or upsampler is a block or a part of a block."""
    per_level = unet.config.layers_per_block + 1
    names = dict(_UNET_ENDS)
    for level in range(len(unet.down_blocks)):
        for layer in range(per_level - 1):
            block_name = f"input_blocks.{per_level * level + layer + 1}"
            names[f"down_blocks.{level}.resnets.{layer}"] = f"{block_name}.0"
            names[f"down_blocks.{level}.attentions.{layer}"] = f"{block_name}.1"
        names[f"down_blocks.{level}.downsamplers.0.conv"] = f"input_blocks.{per_level * (level + 1)}.0.op"
    for level, block in enumerate(unet.up_blocks):
        for layer in range(per_level):
            block_name = f"output_blocks.{per_level * level + layer}"
            names[f"up_blocks.{level}.resnets.{layer}"] = f"{block_name}.0"
            names[f"up_blocks.{level}.attentions.{layer}"] = f"{block_name}.1"
        position = 2 if hasattr(block, "attentions") else 1
        names[f"up_blocks.{level}.upsamplers.0.conv"] = f"output_blocks.{per_level * (level + 1) - 1}.{position}.conv"
    return {_unet_name(name, names): weight for name, weight in unet.state_dict().items()}


def _unet_name(name: str, names: dict[str, str]) -> str:
    prefix = max((candidate for candidate in names if name.startswith(f"{candidate}.")), key=len)
    rest = name.removeprefix(prefix)
    if "resnets" in prefix:
        for diffusers_name, original_name in _RESNET:
            rest = rest.replace(f".{diffusers_name}.", f".{original_name}.")
    return names[prefix] + rest


def _vae(vae: Any) -> dict[str, Tensor]:
    last = len(vae.config.up_block_types) - 1
    state = {}
    for name, weight in vae.state_dict().items():
        # The original numbers the blocks of the decoder from the image.
        renumbered = re.sub(r"up_blocks\.(\d+)", lambda match: f"up_blocks.{last - int(match[1])}", name)
        is_linear = ".attentions." in name and weight.ndim == 2  # 1 x 1 convolutions in the original
        state[_renamed(renumbered, _VAE)] = weight[:, :, None, None] if is_linear else weight
    return state


def _clip(encoder: Any) -> dict[str, Tensor]:
    return {name.removeprefix("text_model."): weight for name, weight in encoder.state_dict().items()}


def _open_clip(encoder: Any) -> dict[str, Tensor]:
    """OpenCLIP stores queries, keys and values in one matrix, and transposes the projection."""
    state = {}
    weights = _clip(encoder)
    for name, weight in weights.items():
        if name == "text_projection.weight":
            state["text_projection"] = weight.T
        elif match := re.fullmatch(r"(.*)\.self_attn\.q_proj\.(weight|bias)", name):
            parts = [weights[f"{match[1]}.self_attn.{part}_proj.{match[2]}"] for part in "qkv"]
            state[_renamed(f"{match[1]}.attn.in_proj_{match[2]}", _OPEN_CLIP)] = torch.cat(parts)
        elif not re.search(r"self_attn\.[kv]_proj", name):
            state[_renamed(name, _OPEN_CLIP)] = weight
    return state


def _renamed(name: str, rules: Iterable[tuple[str, str]]) -> str:
    for pattern, replacement in rules:
        name = re.sub(pattern, replacement, name)
    return name


def _prefixed(prefix: str, state: dict[str, Tensor]) -> dict[str, Tensor]:
    return {prefix + name: weight.detach().cpu().contiguous().clone() for name, weight in state.items()}
