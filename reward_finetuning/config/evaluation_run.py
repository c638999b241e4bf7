"""An evaluation without training: any policies on any prompt sets."""

from typing import Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, model_validator

from reward_finetuning.config.base import Frozen, Name
from reward_finetuning.config.locations import Location
from reward_finetuning.config.sections.evaluation import EvaluationConfig
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.config.sections.sampling import SamplingConfig


class EvaluatedPolicy(Frozen):
    """The pretrained model, or policies of a run."""

    name: Name | None = None
    """What to call it; when not given `pretrained`, or the run's name."""

    run: Location | None = None
    """Its run directory, such as runs/shapes-prdp; null: the pretrained model."""

    epoch: PositiveInt | Literal["latest", "all"] = "latest"
    """Which policy of the run. `all`: every one that the run has kept, named NAME-epoch-N."""

    @model_validator(mode="after")
    def _only_runs_have_epochs(self) -> Self:
        if self.run is None and self.epoch != "latest":
            raise ValueError(f"the pretrained model has no epochs, got epoch {self.epoch}: give run, its run directory")
        return self


class EvaluationRun(Frozen):
    """Policies side by side, drawn from the same noise; one YAML file with the key `policies`."""

    name: Name
    """The evaluation's folder under run_root."""

    run_root: Location = "runs"
    """Folder of all runs."""

    seed: NonNegativeInt = Field(default=0, le=2**53 - 1)
    """Of the noise that all policies draw from."""

    policies: tuple[EvaluatedPolicy, ...] = Field(min_length=1)
    """All others are compared with the first."""

    model: ModelConfig | None = None
    """The base model; when not given, that of the runs, which must agree."""

    sampling: SamplingConfig | None = None
    """How images are drawn; when not given, as the runs draw theirs, which must agree."""

    reward: RewardConfig | None = None
    """What images are scored by; when not given, as in the first run."""

    evaluation: EvaluationConfig = EvaluationConfig()
    """Prompt sets, images of each prompt, shards."""

    @model_validator(mode="after")
    def _the_model_is_known(self) -> Self:
        if self.model is None and all(policy.run is None for policy in self.policies):
            raise ValueError("no policy has a run, so nothing says which model: give the section model")
        return self
