"""The UNet of the small built-in model, its scheduler, and its pretraining."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from reward_finetuning.shapes import captions
from reward_finetuning.shapes.learning_rate import one_cycle
from reward_finetuning.shapes.scene import Scene, describe
from reward_finetuning.shapes.text_encoder import WIDTH, tokenize

EMPTY_CAPTIONS = 0.1
"""Share of empty captions in pretraining, for classifier-free guidance."""


def build_unet() -> Any:
    """An untrained UNet2DConditionModel that is fast on a CPU.

    It has attention only at the 4 x 4 level (16 positions), one resnet per level, and no middle block.
    """
    from diffusers import UNet2DConditionModel

    return UNet2DConditionModel(
        sample_size=8,
        in_channels=4,
        out_channels=4,
        block_out_channels=(32, 64),
        layers_per_block=1,
        down_block_types=("DownBlock2D", "CrossAttnDownBlock2D"),
        mid_block_type=None,
        up_block_types=("CrossAttnUpBlock2D", "UpBlock2D"),
        cross_attention_dim=WIDTH,
        attention_head_dim=2,
        norm_num_groups=8,
    )


def build_scheduler() -> Any:
    """A scheduler with the convention of Stable Diffusion: the last step has a positive variance (steps_offset 1)."""
    from diffusers import DDIMScheduler

    return DDIMScheduler(
        num_train_timesteps=1000,
        beta_start=0.00085,
        beta_end=0.012,
        beta_schedule="scaled_linear",
        prediction_type="epsilon",
        steps_offset=1,
        set_alpha_to_one=False,
        clip_sample=False,
    )


@dataclass(frozen=True, slots=True)
class Batch:
    """B latents with captions, and the noise to predict."""

    latents: Tensor
    """[B, 4, 8, 8] scaled."""

    tokens: Tensor
    """[B, L] int64."""

    timesteps: Tensor
    """[B] int64, 0 to 999."""

    noise: Tensor
    """[B, 4, 8, 8] unit normal."""


class Examples:
    """Random batches of latents with captions. A picture gets a new caption in every batch."""

    def __init__(self, latents: Tensor, scenes: list[Scene], tokenizer: Any, *, caption_noise: float) -> None:
        """Latents [N, 4, 8, 8] of N scenes; `caption_noise` is the probability of a wrong caption."""
        self._latents, self._scenes, self._tokenizer = latents, scenes, tokenizer
        self._caption_noise = caption_noise
        self._tokens: dict[str, Tensor] = {}

    def batches(self, size: int, *, seed: int) -> Iterator[Batch]:
        """An infinite sequence of batches of `size`, determined by `seed`."""
        rng = np.random.default_rng(seed)
        generator = torch.Generator().manual_seed(seed)
        while True:
            indices = rng.integers(len(self._scenes), size=size)
            latents = self._latents[torch.from_numpy(indices)]
            yield Batch(
                latents=latents,
                tokens=torch.stack([self._caption(self._scenes[index], rng) for index in indices]),
                timesteps=torch.randint(1000, (size,), generator=generator),
                noise=torch.randn(latents.shape, generator=generator),
            )

    def _caption(self, scene: Scene, rng: np.random.Generator) -> Tensor:
        """[L] tokens of a correct, a wrong or an empty caption of `scene`."""
        if rng.random() < EMPTY_CAPTIONS:
            caption = ""
        elif rng.random() < self._caption_noise:
            caption = describe(captions.misdescribe(scene, rng))
        else:
            caption = describe(scene)
        if caption not in self._tokens:
            self._tokens[caption] = tokenize(self._tokenizer, [caption])[0]
        return self._tokens[caption]


def train_denoiser(
    unet: Any,
    text_encoder: Any,
    scheduler: Any,
    *,
    examples: Iterator[Batch],
    steps: int,
    learning_rate: float,
    heldout: Batch,
    report: Callable[[int, float], None],
) -> None:
    """Train `unet` and `text_encoder` in place on `steps` batches of `examples`.

    The learning rate rises to `learning_rate` and falls to zero once (one cycle), which replaces an average of the
    weights. `report` is called every 250 steps with (step, held-out loss). The held-out batch and its noise are fixed.
    """
    parameters = [*unet.parameters(), *text_encoder.parameters()]
    optimizer = torch.optim.AdamW(parameters, lr=learning_rate, weight_decay=1e-4, fused=True)
    schedule = one_cycle(optimizer, steps=steps)
    for step in range(1, steps + 1):
        loss = denoising_loss(unet, text_encoder, scheduler, next(examples))
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        schedule.step()
        if step % 250 == 0 or step == steps:
            with torch.no_grad():
                report(step, denoising_loss(unet, text_encoder, scheduler, heldout).item())


def denoising_loss(unet: Any, text_encoder: Any, scheduler: Any, batch: Batch) -> Tensor:
    """Scalar mean of (epsilon - epsilon_theta(x_t, t, c))^2 over the batch and the latent elements.

    Source: Ho et al. 2020 (arXiv:2006.11239), eq. 14.
    """
    noisy = scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
    states = text_encoder(batch.tokens)[0]
    return functional.mse_loss(unet(noisy, batch.timesteps, states).sample, batch.noise)
