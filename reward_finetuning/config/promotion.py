"""When a finetuned policy is good enough to be used."""

from pydantic import Field, NonNegativeFloat

from reward_finetuning.config.base import Frozen


class PromotionConfig(Frozen):
    """What the gate asks of a policy; intervals are 95 % ones of the paired difference to the pretrained model."""

    improve_on: tuple[str, ...] = Field(default=("train",), min_length=1)
    """Evaluation prompt sets on which the trained reward's interval must lie above 0."""

    keep_on: tuple[str, ...] = ("heldout",)
    """Evaluation prompt sets on which the trained reward's interval must not lie below 0."""

    guard_margins: dict[str, NonNegativeFloat] = Field(default={})
    """Reward -> how far its mean may fall on any of these sets, in its own units; rewards not named may fall."""
