"""The UNet of the small built-in model, its scheduler, and its loss."""

from typing import Any

from torch import Tensor
from torch.nn import functional

from reward_finetuning.shapes.batches import Batch
from reward_finetuning.shapes.text_encoder import WIDTH


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


def denoising_loss(unet: Any, text_encoder: Any, scheduler: Any, batch: Batch) -> Tensor:
    """Scalar mean of (epsilon - epsilon_theta(x_t, t, c))^2 over the batch and the latent elements.

    Source: Ho et al. 2020 (arXiv:2006.11239), eq. 14.
    """
    noisy = scheduler.add_noise(batch.latents, batch.noise, batch.timesteps)
    states = text_encoder(batch.tokens)[0]
    return functional.mse_loss(unet(noisy, batch.timesteps, states).sample, batch.noise)
