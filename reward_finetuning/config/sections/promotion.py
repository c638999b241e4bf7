"""When a finetuned policy is good enough to be used."""

from typing import Annotated

from pydantic import Field, NonNegativeFloat, PositiveFloat

from reward_finetuning.config.base import Frozen


class PromotionConfig(Frozen):
    """What a policy has to show: to the gate against the pretrained model, to promotion against the champion.

    Intervals are 95 % ones of the paired difference to that model: same prompts, same noise.
    """

    improve_on: tuple[str, ...] = Field(default=("train",), min_length=1)
    """Evaluation prompt sets on which the trained reward's interval must lie above 0, or above `min_gain`."""

    min_gain: PositiveFloat | None = None
    """The gain that improve_on asks for, in units of the reward. Needed where a set has fewer than 20 prompts: the
    interval is then one of new images of these prompts, and a gain of any size would do."""

    keep_on: tuple[str, ...] = ("heldout",)
    """Evaluation prompt sets on which the trained reward's interval must not lie below 0."""

    guard_margins: dict[str, NonNegativeFloat] = Field(default={})
    """Reward -> how far below 0 its interval may reach on any of these sets, in its own units, compared with the model
    to beat and with the pretrained one; rewards not named may fall."""

    after_training: bool = False
    """Whether the last policy of a run competes for champion once it is evaluated; a policy that wins is registered.
    Staged runs and retrainings always do that. The task of `fused` does it, and else `rft run` or `rft sync`."""

    registered_model: Annotated[str, Field(pattern=r"^[A-Za-z0-9{][A-Za-z0-9._{}-]{0,127}$")] | None = "{name}"
    """MLflow registered model whose alias `champion` is moved; `{name}` stands for the run's name. Runs that compete
    share one. Null, or tracking off: the run's policies compete among themselves, in its champion.json."""
