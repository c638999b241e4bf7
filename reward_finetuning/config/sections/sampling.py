"""How rollouts are drawn."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt, PositiveFloat, PositiveInt, field_validator

from reward_finetuning.config.base import Frozen


class FlowConfig(Frozen):
    """Sampler of a flow model (Stable Diffusion 3, FLUX). Its noise levels are those of diffusers' own pipeline."""

    sampler: Literal["cps", "sde", "ode"] = "cps"
    """`cps`: coefficients-preserving sampling (arXiv:2509.05952), which keeps the noise level of the marginals exactly.
    `sde`: Euler-Maruyama steps (Flow-GRPO, arXiv:2505.05470), which with few steps raise it. `ode`: deterministic, for
    evaluation; a run cannot train with it."""

    eta: Annotated[float, Field(gt=0.0, le=1.0)] = 0.7
    """Amount of noise of a step; the published runs use 0.7 to 0.9."""

    min_std: PositiveFloat = 0.05
    """Steps are deterministic from the first one whose standard deviation is below it. Near the image a step is so
    narrow that rounding in the network moves its log-probability by more than a clip range."""

    window: tuple[NonNegativeInt, PositiveInt] | None = None
    """Stochastic steps [first, last), 0 is the noisiest; the others are deterministic and are not trained (MixGRPO,
    arXiv:2507.21802). All that min_std allows when not given."""

    @field_validator("window")
    @classmethod
    def _ascending(cls, window: tuple[int, int] | None) -> tuple[int, int] | None:
        if window is not None and window[0] >= window[1]:
            raise ValueError(f"window is [first, last) with first < last, got {list(window)}")
        return window


class SamplingConfig(Frozen):
    """DDIM with eta = 1 by default, which is DDPM's ancestral sampler on a strided grid; see `flow` for flow models."""

    rollouts: Literal["online", "offline"] = "online"
    """`online`: each epoch draws images with its newest policy. `offline`: the pretrained model draws once, and every
    epoch trains on those images."""

    num_steps: Annotated[int, Field(ge=1, le=1000)] = 50
    """T, denoising steps per image."""

    guidance_scale: Annotated[float, Field(ge=1.0, le=100.0)] = 5.0
    """Guidance, the same in sampling and training: the classifier-free weight, where 1 switches guidance off; of
    FLUX.1-dev the guidance that its network takes as an input."""

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

    flow: FlowConfig = FlowConfig()
    """Used with flow models."""

    kl_share: Annotated[float, Field(gt=0.0, le=1.0)] = 0.02
    """Share of all steps of all images at which the reference is evaluated, for a method that does not read its
    log-probs: DDPO, RWR, PPOD with `reference: stage_start`, DPOK with `kl_weight: 0`. They are drawn at random for
    groups of up to 16 images of a micro-batch, about equally many for each step, and at least one per epoch.
    The logged `sample/kl_to_reference` is the mean of their exact KL. Other methods evaluate it everywhere."""

    latents_dtype: Literal["float32", "float16"] = "float32"
    """Type in which latents are stored and from which sampling continues; rounding comes before the log-probability."""

    height: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    """Pixels; the model's own size when not given."""

    width: Annotated[int, Field(ge=8, multiple_of=8)] | None = None
    """Pixels; the model's own size when not given."""
