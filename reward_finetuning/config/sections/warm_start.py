"""Another policy than the pretrained model to start from."""

from typing import Literal

from pydantic import PositiveInt

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.locations import Location

Anchor = Literal["pretrained", "warm_start"]


class WarmStartConfig(Frozen):
    """A policy of another run, of the same pretrained model and the same trainable weights; it becomes epoch 0 here."""

    run_directory: Location
    """That run's folder: its run_root/name."""

    epoch: PositiveInt
    """Which of its policies."""

    reference: Anchor = "pretrained"
    """What the KL term and PPOD's clip hold the policy near: the pretrained model, which no chain of retrainings leaves
    far behind, or the policy that is started from."""
