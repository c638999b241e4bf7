"""How long a run is and how it is cut into tasks: nothing here changes a number."""

from typing import Literal, Self

from pydantic import PositiveFloat, PositiveInt, model_validator

from reward_finetuning.config.base import Frozen

MOST_STAGES = 8
"""A stage is about 20 KiB of a package, and submitting one of more than 200 KiB fails."""


UNROLLED_EPOCHS = 5
"""`auto` epochs where they are unrolled."""


class LoopConfig(Frozen):
    """The loop over epochs."""

    epochs: PositiveInt = 100
    """E, sample-reward-train rounds in all; it can be raised later, and the run continues."""

    granularity: Literal["fused", "split", "staged"] = "fused"
    """`fused`: one task runs many epochs. `split`: a task per role and epoch, each on its own pool. `staged`: as split,
    with all epochs in one package, each evaluated, and a gate that promotes the last policy; for PPOD's few stages."""

    epochs_per_run: PositiveInt | Literal["auto"] = "auto"
    """Epochs in one pipeline run of `split`; a `fused` run does all that are left. `auto`: on Kubeflow as many as keep
    the workflow below 60 % of what Argo can hold, at most 100; elsewhere 5, which are unrolled when compiled."""

    num_shards: PositiveInt = 1
    """Parallel sample and reward tasks an epoch in `split`."""

    evaluate_every: PositiveInt = 10
    """Epochs between evaluations; the last epoch is always evaluated."""

    stall_minutes: PositiveFloat = 60.0
    """How long a task may report no progress. Then it ends with all its stacks in its log, and is tried again."""

    @property
    def unrolled_epochs(self) -> int:
        """Epochs of a pipeline run where nothing has fitted them to a workflow."""
        return UNROLLED_EPOCHS if self.epochs_per_run == "auto" else self.epochs_per_run

    @model_validator(mode="after")
    def _stages_fit_a_package(self) -> Self:
        if self.granularity == "staged" and self.epochs > MOST_STAGES:
            raise ValueError(
                f"staged compiles every epoch into one package, which holds at most {MOST_STAGES}: "
                f"lower epochs={self.epochs}, or use fused or split"
            )
        return self
