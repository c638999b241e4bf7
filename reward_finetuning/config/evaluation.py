"""What policies are compared on."""

from pydantic import Field, PositiveInt

from reward_finetuning.config.base import Frozen


class EvaluationConfig(Frozen):
    """Every policy draws from the same noise, so that differences are paired."""

    prompt_sets: dict[str, str] = Field(default={"train": "shapes:train", "heldout": "shapes:heldout"}, min_length=1)
    """Name -> prompt file, as in prompts.train."""

    images_per_prompt: PositiveInt = 8
    """Images for each prompt."""

    averaged: bool = False
    """Evaluate and export the averaged weights (training.ema_decay) instead of the newest: reports of their own."""

    grid_images: PositiveInt = 16
    """Images in the sample grid that MLflow shows for each evaluation."""
