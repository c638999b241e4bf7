"""How rollouts are drawn."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat, PositiveInt

from reward_finetuning.config.base import Frozen


class SamplingConfig(Frozen):
    """DDIM with eta = 1 by default, which is DDPM's ancestral sampler on a strided grid."""

    rollouts: Literal["online", "offline"] = "online"
    """`online`: each epoch draws images with its newest policy. `offline`: the pretrained model draws once, and every
    epoch trains on those images."""

    num_steps: Annotated[int, Field(ge=1, le=1000)] = 50
    """T, denoising steps per image."""

    guidance_scale: Annotated[float, Field(ge=1.0, le=100.0)] = 5.0
    """Classifier-free guidance weight, the same in sampling and training; 1 switches guidance off."""

    images_per_prompt: PositiveInt = 8
    """K, images drawn for each prompt of an epoch."""

    micro_batch_size: PositiveInt = 8
    """Images per forward pass. It is part of a run's identity: the size of a batch changes the last bits."""

    ddim_eta: Annotated[float, Field(gt=0.0, le=1.0)] = 1.0
    """eta of DDIM; 0 would be deterministic, and a deterministic step has no log-probability."""

    scheduler: Literal["own", "from_model"] = "own"
    """`own`: the grid of `spacing`, offset 1, final alpha-bar_0. `from_model`: the steps that
    diffusers takes with the model's scheduler: DDIM, PNDM, or Euler with leading steps; others are refused."""

    spacing: Literal["leading", "quadratic"] = "leading"
    """Of our own grid. `leading`: even strides, as in Stable Diffusion and the papers. `quadratic`: finer towards the
    image; with few steps an even stride leaves 86 % of the gradient's noise in one step (docs/decisions/0004)."""

    min_std: PositiveFloat = 1e-3
    """Smallest standard deviation a step may have; below it a log-probability means nothing."""

    latents_dtype: Literal["float32", "float16"] = "float32"
    """Type in which latents are stored and from which sampling continues; rounding comes before the log-probability."""

    height: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    """Pixels; the model's own size when not given."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    """Pixels; the model's own size when not given."""
