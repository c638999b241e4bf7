"""What is watched during training."""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveFloat, PositiveInt

from reward_finetuning.config.base import Frozen


class MonitorConfig(Frozen):
    """Signs of over-optimisation, checked after every epoch; nothing here changes a number."""

    on_alarm: Literal["warn", "stop"] = "warn"
    """`warn`: say so, in the log, in MLflow and in the report. `stop`: also end the run, with exit code 3; its policies
    stay, and with another bound, or with `warn`, the same command resumes."""

    max_kl: PositiveFloat | None = None
    """Highest KL of an epoch's rollouts to the reference, nats per latent element (exact; mean over steps). The
    reference is the pretrained model, or with `warm_start.reference: warm_start` the policy that the run began with."""

    min_spread: Annotated[float, Field(ge=0.0, lt=1.0)] = 0.2
    """Lowest standard deviation of rewards within a prompt, as a share of the first epochs': below it, images of a
    prompt have become alike. 0: never."""

    guard_drop: NonNegativeFloat | None = 1.0
    """How far a reward of weight 0 may fall while the trained one rises, in its own standard deviations; null: any."""

    window: PositiveInt = 5
    """Epochs that are averaged: the newest against the first."""
