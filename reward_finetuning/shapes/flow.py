"""The transformer of the small built-in flow model in the pipeline class of Stable Diffusion 3, and its loss."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

from reward_finetuning.shapes.batches import Batch
from reward_finetuning.shapes.text_encoder import MAX_LENGTH, build_text_encoder

T5_TOKENS = 1
"""Tokens that T5 would read. Without T5 the pipeline has as many zero vectors in its place: 256 unless it is told."""

_HEADS, _HEAD_SIZE, _LAYERS = 4, 20, 4
_TEXT_WIDTHS = (48, 32)
_TRAIN_TIMESTEPS = 1000


def build_flow_pipeline(vae: Any, tokenizer: Any) -> Any:
    """A StableDiffusion3Pipeline with `vae`, two untrained text encoders, an untrained transformer, and no T5."""
    from diffusers import StableDiffusion3Pipeline

    first, second = (build_text_encoder(tokenizer, width=width, projection=True) for width in _TEXT_WIDTHS)
    # This pipeline class adds shift_factor. The path that the VAE was loaded from belongs to this machine.
    vae.register_to_config(shift_factor=0.0, _name_or_path="")
    return StableDiffusion3Pipeline(
        transformer=build_transformer(),
        scheduler=build_flow_scheduler(),
        vae=vae,
        text_encoder=first,
        tokenizer=tokenizer,
        text_encoder_2=second,
        tokenizer_2=tokenizer,
        text_encoder_3=None,
        tokenizer_3=None,
    )


def build_transformer() -> Any:
    """An untrained SD3Transformer2DModel: 16 image tokens of 2 x 2 latent cells, and 17 text tokens."""
    from diffusers import SD3Transformer2DModel

    width = _HEADS * _HEAD_SIZE
    return SD3Transformer2DModel(
        sample_size=8,
        patch_size=2,
        in_channels=4,
        out_channels=4,
        num_layers=_LAYERS,
        attention_head_dim=_HEAD_SIZE,
        num_attention_heads=_HEADS,
        joint_attention_dim=width,
        caption_projection_dim=width,
        pooled_projection_dim=sum(_TEXT_WIDTHS),
        pos_embed_max_size=8,
        qk_norm="rms_norm",
    )


def build_flow_scheduler() -> Any:
    """Noise levels from 1 to 0, unshifted: latents of 4 x 8 x 8 need no larger share of high noise."""
    from diffusers import FlowMatchEulerDiscreteScheduler

    return FlowMatchEulerDiscreteScheduler(num_train_timesteps=_TRAIN_TIMESTEPS, shift=1.0)


def noise_levels(timesteps: Tensor) -> Tensor:
    """Timesteps [B] uniform on 0 to 999 as noise levels in (0, 1) with the logit-normal density of arXiv:2403.03206."""
    return torch.special.ndtri((timesteps.double() + 0.5) / _TRAIN_TIMESTEPS).sigmoid().float()


def flow_loss(transformer: Any, text_encoders: Sequence[Any], batch: Batch) -> Tensor:
    """Scalar mean of (epsilon - x_0 - v_theta(x_s, s, c))^2 over the batch and the latent elements.

    Source: Esser et al. 2024 (arXiv:2403.03206), eq. 2 with the rectified flow's weight, x_s = (1 - s) x_0 + s epsilon.
    """
    levels = noise_levels(batch.timesteps)
    s = levels[:, None, None, None]
    noisy = (1 - s) * batch.latents + s * batch.noise
    states, pooled = text_states(text_encoders, batch.tokens, transformer.config.joint_attention_dim)
    velocity = transformer(
        hidden_states=noisy,
        timestep=levels * _TRAIN_TIMESTEPS,
        encoder_hidden_states=states,
        pooled_projections=pooled,
    ).sample
    return functional.mse_loss(velocity, batch.noise - batch.latents)


def text_states(text_encoders: Sequence[Any], tokens: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """What StableDiffusion3Pipeline.encode_prompt gives without T5, with gradients.

    Args:
        text_encoders: two CLIPTextModelWithProjection.
        tokens: [B, MAX_LENGTH] int64.
        width: of the joint attention.

    Returns:
        States [B, MAX_LENGTH + T5_TOKENS, width], and pooled states [B, sum of the projections].
    """
    outputs = [encoder(tokens, output_hidden_states=True) for encoder in text_encoders]
    states = torch.cat([output.hidden_states[-2] for output in outputs], dim=-1)
    padded = functional.pad(states, (0, width - states.shape[-1], 0, T5_TOKENS))
    assert padded.shape[1] == MAX_LENGTH + T5_TOKENS
    return padded, torch.cat([output.text_embeds for output in outputs], dim=-1)
