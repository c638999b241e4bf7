"""Pipelines of published sizes with random weights, made without a network; and tiny ones to try the benchmark.

The text encoders have the published output widths and one layer each, because no measurement runs them.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch

from reward_finetuning.shapes.text_encoder import write_tokenizer

TOKENS = 77
"""Tokens of a prompt that CLIP reads."""


@dataclass(frozen=True, slots=True)
class Model:
    """A pipeline class at one size."""

    build: Callable[[dict[str, Any], Any], Any]
    network: dict[str, Any]
    """Config of the UNet or transformer that differs from the class's defaults."""

    sides: tuple[int, ...]
    """Pixels of a side to measure at."""

    batches: tuple[int, ...]
    """Images or cells per forward pass to measure at."""

    vae: tuple[int, ...]
    """Channels of the VAE's blocks."""


def _clip(tokenizer: Any, width: int, *, projects: bool) -> Any:
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    config = CLIPTextConfig(
        vocab_size=len(tokenizer),
        hidden_size=width,
        intermediate_size=width,
        projection_dim=width,
        num_hidden_layers=2,
        num_attention_heads=4,
        max_position_embeddings=tokenizer.model_max_length,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
    )
    return CLIPTextModelWithProjection(config) if projects else CLIPTextModel(config)


def _vae(channels: tuple[int, ...], latent_channels: int) -> Any:
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        block_out_channels=channels,
        layers_per_block=2,
        latent_channels=latent_channels,
        norm_num_groups=8,
        down_block_types=("DownEncoderBlock2D",) * len(channels),
        up_block_types=("UpDecoderBlock2D",) * len(channels),
        shift_factor=0.06 if latent_channels > 4 else None,
    )


def _stable_diffusion(network: dict[str, Any], parts: Any) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionPipeline, UNet2DConditionModel

    return StableDiffusionPipeline(
        vae=parts.vae(4),
        text_encoder=_clip(parts.tokenizer, network["cross_attention_dim"], projects=False),
        tokenizer=parts.tokenizer,
        unet=UNet2DConditionModel(**network),
        scheduler=DDIMScheduler(**_NOISE),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _stable_diffusion_xl(network: dict[str, Any], parts: Any) -> Any:
    from diffusers import DDIMScheduler, StableDiffusionXLPipeline, UNet2DConditionModel

    second = network["projection_class_embeddings_input_dim"] - 6 * network["addition_time_embed_dim"]
    return StableDiffusionXLPipeline(
        vae=parts.vae(4),
        text_encoder=_clip(parts.tokenizer, network["cross_attention_dim"] - second, projects=False),
        text_encoder_2=_clip(parts.tokenizer, second, projects=True),
        tokenizer=parts.tokenizer,
        tokenizer_2=parts.tokenizer,
        unet=UNet2DConditionModel(**network),
        scheduler=DDIMScheduler(**_NOISE),
    )


def _stable_diffusion_3(network: dict[str, Any], parts: Any) -> Any:
    from diffusers import FlowMatchEulerDiscreteScheduler, SD3Transformer2DModel, StableDiffusion3Pipeline

    first = network["pooled_projection_dim"] * 3 // 8  # 768 of 2048
    second = network["pooled_projection_dim"] - first
    return StableDiffusion3Pipeline(
        SD3Transformer2DModel(**network),
        FlowMatchEulerDiscreteScheduler(shift=3.0),
        parts.vae(network["in_channels"]),
        _clip(parts.tokenizer, first, projects=True),
        parts.tokenizer,
        _clip(parts.tokenizer, second, projects=True),
        parts.tokenizer,
        None,
        None,
    )


_NOISE = {
    "beta_start": 0.00085,
    "beta_end": 0.012,
    "beta_schedule": "scaled_linear",
    "steps_offset": 1,
    "set_alpha_to_one": False,
    "clip_sample": False,
}
_CROSS = "CrossAttnDownBlock2D"
_SDXL_BLOCKS: dict[str, Any] = {
    "use_linear_projection": True,
    "addition_embed_type": "text_time",
    "down_block_types": ("DownBlock2D", _CROSS, _CROSS),
    "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
}
_KL_VAE = (128, 256, 512, 512)
_SMALL_VAE = (16, 16, 16, 16)

PUBLISHED = {
    "sd15": Model(
        _stable_diffusion,
        {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8},
        sides=(512,),
        batches=(8, 16),
        vae=_KL_VAE,
    ),
    "sdxl": Model(
        _stable_diffusion_xl,
        _SDXL_BLOCKS
        | {
            "sample_size": 128,
            "block_out_channels": (320, 640, 1280),
            "attention_head_dim": [5, 10, 20],
            "transformer_layers_per_block": [1, 2, 10],
            "cross_attention_dim": 2048,
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        },
        sides=(512, 1024),
        batches=(4,),
        vae=_KL_VAE,
    ),
    "sd35-medium": Model(
        _stable_diffusion_3,
        {
            "sample_size": 128,
            "in_channels": 16,
            "out_channels": 16,
            "num_layers": 24,
            "num_attention_heads": 24,
            "joint_attention_dim": 4096,
            "caption_projection_dim": 1536,
            "pooled_projection_dim": 2048,
            "pos_embed_max_size": 384,
            "dual_attention_layers": tuple(range(13)),
            "qk_norm": "rms_norm",
        },
        sides=(512,),
        batches=(8,),
        vae=_KL_VAE,
    ),
}

TINY = {
    "sd15": Model(
        _stable_diffusion,
        {
            "sample_size": 8,
            "block_out_channels": (32, 64),
            "down_block_types": (_CROSS, "DownBlock2D"),
            "up_block_types": ("UpBlock2D", "CrossAttnUpBlock2D"),
            "layers_per_block": 1,
            "cross_attention_dim": 32,
            "norm_num_groups": 8,
        },
        sides=(64,),
        batches=(2,),
        vae=_SMALL_VAE,
    ),
    "sdxl": Model(
        _stable_diffusion_xl,
        _SDXL_BLOCKS
        | {
            "sample_size": 8,
            "block_out_channels": (32, 32, 64),
            "layers_per_block": 1,
            "attention_head_dim": [2, 2, 4],
            "transformer_layers_per_block": [1, 1, 1],
            "cross_attention_dim": 80,
            "addition_time_embed_dim": 8,
            "projection_class_embeddings_input_dim": 6 * 8 + 48,
            "norm_num_groups": 8,
        },
        sides=(64,),
        batches=(2,),
        vae=_SMALL_VAE,
    ),
    "sd35-medium": Model(
        _stable_diffusion_3,
        {
            "sample_size": 8,
            "in_channels": 16,
            "out_channels": 16,
            "num_layers": 2,
            "attention_head_dim": 8,
            "num_attention_heads": 4,
            "joint_attention_dim": 96,
            "caption_projection_dim": 32,
            "pooled_projection_dim": 64,
            "pos_embed_max_size": 12,
            "dual_attention_layers": (0,),
            "qk_norm": "rms_norm",
        },
        sides=(64,),
        batches=(2,),
        vae=_SMALL_VAE,
    ),
}


@dataclass(frozen=True, slots=True)
class _Parts:
    tokenizer: Any
    channels: tuple[int, ...]

    def vae(self, latent_channels: int) -> Any:
        return _vae(self.channels, latent_channels)


def build(model: Model, device: torch.device) -> Any:
    """A pipeline of diffusers in float32 whose weights are drawn on `device` with seed 0."""
    torch.manual_seed(0)
    with TemporaryDirectory() as folder:
        tokenizer = write_tokenizer(Path(folder))
        tokenizer.model_max_length = TOKENS
        with torch.device(device):
            pipeline = model.build(dict(model.network), _Parts(tokenizer, model.vae))
    pipeline.set_progress_bar_config(disable=True)
    return pipeline
