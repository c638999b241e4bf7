"""How long a run is and how it is cut into tasks: nothing here changes a number."""

from typing import Literal

from pydantic import PositiveInt

from reward_finetuning.config.base import Frozen


class LoopConfig(Frozen):
    """The loop over epochs."""

    epochs: PositiveInt = 100
    """E, sample-reward-train rounds in all; it can be raised later and the run goes on."""

    granularity: Literal["fused", "split"] = "fused"
    """`fused`: one task runs many epochs. `split`: a task per role and epoch, each on its own pool."""

    epochs_per_run: PositiveInt = 5
    """Epochs in one pipeline run of `split`, unrolled when compiled; a `fused` run does all that are left."""

    num_shards: PositiveInt = 1
    """Parallel sample and reward tasks an epoch in `split`."""

    evaluate_every: PositiveInt = 10
    """Epochs between evaluations; the last epoch is always evaluated."""
