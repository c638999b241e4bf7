"""What policies are compared on."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.locations import Label, PromptSource


class EvaluationConfig(Frozen):
    """Every policy draws from the same noise, so that differences are paired."""

    prompt_sets: dict[Label, PromptSource] = Field(
        default={"train": "shapes:train", "heldout": "shapes:heldout"}, min_length=1
    )
    """Name -> prompt file, as in prompts.train."""

    images_per_prompt: PositiveInt = 8
    """Images for each prompt."""

    sampler: Literal["training", "ode"] = "training"
    """`training`: the sampler of the rollouts. `ode`: the deterministic sampler of a flow model, as stock diffusers
    draws; its steps have no KL, so it needs `kl: false`."""

    num_steps: Annotated[int, Field(ge=1, le=1000)] | None = None
    """Denoising steps, if not sampling.num_steps: training can use fewer (Flow-GRPO, arXiv:2505.05470)."""

    guidance_scale: Annotated[float, Field(ge=1.0, le=100.0)] | None = None
    """Guidance, if not sampling.guidance_scale: training can do without."""

    averaged: bool = False
    """Evaluate and export the averaged weights (training.ema_decay) instead of the newest; reports are separate."""

    grid_images: PositiveInt = 16
    """Images in the sample grid that MLflow shows for each evaluation."""

    kl: bool = True
    """Whether the KL to the reference is measured at every denoising step: one more forward pass for each."""

    num_shards: PositiveInt = 1
    """Parallel tasks that draw and score, in `split`, `staged` and `rft evaluate`; numbers do not depend on it."""

    images_per_part: PositiveInt = 256
    """Images in one artifact, rounded to whole micro-batches: what a task that is started again draws anew at most."""

    @model_validator(mode="after")
    def _deterministic_steps_have_no_kl(self) -> Self:
        if self.sampler == "ode" and self.kl:
            raise ValueError("evaluation.sampler=ode has no KL, for its steps are deterministic: set kl: false")
        return self
