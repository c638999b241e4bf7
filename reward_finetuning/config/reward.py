"""What is rewarded."""

from typing import Self

from pydantic import Field, PositiveInt, model_validator

from reward_finetuning.config.base import Frozen


class RewardConfig(Frozen):
    """The combined reward is the weighted sum of the scorers."""

    weights: dict[str, float] = Field(default={"shapes": 1.0}, min_length=1)
    """Scorer name -> weight in the combined reward. Weight 0: scored and reported, not trained on."""

    batch_size: PositiveInt = 64
    """Images per call of a scorer."""

    @model_validator(mode="after")
    def _something_is_rewarded(self) -> Self:
        if not any(self.weights.values()):
            raise ValueError(f"at least one weight must differ from 0, got {self.weights}")
        return self
