"""The VAE of the small built-in model: 32 x 32 pixels <-> a 4 x 8 x 8 latent."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from reward_finetuning.shapes.learning_rate import one_cycle
from reward_finetuning.shapes.render import SIZE

KL_WEIGHT = 5e-4
"""Weight of the KL (nats per latent element) relative to the mean absolute error (pixels in [-1, 1])."""


def build_vae() -> Any:
    """An untrained AutoencoderKL with a downsampling factor of 4 per side."""
    from diffusers import AutoencoderKL

    return AutoencoderKL(
        in_channels=3,
        out_channels=3,
        latent_channels=4,
        sample_size=SIZE,
        block_out_channels=(16, 32, 48),
        down_block_types=("DownEncoderBlock2D",) * 3,
        up_block_types=("UpDecoderBlock2D",) * 3,
        layers_per_block=1,
        norm_num_groups=8,
        mid_block_add_attention=False,
    )


def train_vae(
    vae: Any,
    pictures: Tensor,
    *,
    steps: int,
    batch_size: int,
    learning_rate: float,
    generator: torch.Generator,
    report: Callable[[int, float], None],
) -> None:
    """Train `vae` in place, then set its scaling factor so that latents have unit standard deviation.

        loss = mean |x - decode(z)| + KL_WEIGHT KL(q(z | x) || N(0, I)) per latent element

    Args:
        vae: an AutoencoderKL.
        pictures: [N, 3, 32, 32] uint8.
        steps: optimizer steps.
        batch_size: pictures per step.
        learning_rate: maximum learning rate of one cycle.
        generator: for batches and latents.
        report: called every 100 steps with (step, loss).
    """
    optimizer = torch.optim.AdamW(vae.parameters(), lr=learning_rate, weight_decay=0.0, fused=True)
    schedule = one_cycle(optimizer, steps=steps)
    for step in range(1, steps + 1):
        x = as_floats(pictures[torch.randint(len(pictures), (batch_size,), generator=generator)])
        posterior = vae.encode(x).latent_dist
        mean, log_variance = posterior.mean, posterior.logvar
        z = mean + posterior.std * torch.randn(mean.shape, generator=generator)
        kl = 0.5 * (mean.square() + log_variance.exp() - 1 - log_variance).mean()
        loss = (x - vae.decode(z).sample).abs().mean() + KL_WEIGHT * kl
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(vae.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        if step % 100 == 0 or step == steps:
            report(step, loss.item())
    vae.register_to_config(scaling_factor=1.0)
    vae.register_to_config(scaling_factor=1 / float(encode(vae, pictures[:4096]).std()))


def encode(vae: Any, pictures: Tensor) -> Tensor:
    """[N, 4, 8, 8] float32 scaled latents (posterior means) of the uint8 pictures [N, 3, 32, 32]."""
    with torch.no_grad():
        latents = [vae.encode(as_floats(batch)).latent_dist.mean for batch in pictures.split(256)]
    return torch.cat(latents) * float(vae.config.scaling_factor)


def as_floats(pictures: Tensor) -> Tensor:
    """uint8 pictures as float32 in [-1, 1], the range of the pipeline."""
    return pictures.float() / 127.5 - 1
