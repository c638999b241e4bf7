"""Where numbers go, and how long files stay."""

from pydantic import Field, NonNegativeInt, PositiveFloat

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.locations import TrackingUri


class TrackingConfig(Frozen):
    """MLflow. Training never waits for it: what it misses is sent later."""

    enabled: bool = True
    """False: numbers stay in the run directory's journal, and can be sent later."""

    uri: TrackingUri | None = None
    """Tracking server; not given: MLFLOW_TRACKING_URI, and else a sqlite file in the run root, if that is no bucket."""

    experiment: str = Field(default="reward-finetuning", min_length=1)
    """MLflow experiment."""

    tensorboard: bool = False
    """Whether metrics are also written as event files of TensorBoard, to tensorboard/ of a run directory that is a
    folder."""

    timeout_seconds: PositiveFloat = 10.0
    """Longest wait for one call to a server."""


class RetentionConfig(Frozen):
    """What is deleted once an epoch's policy is committed."""

    rollouts: NonNegativeInt = 1
    """Newest epochs whose rollouts are kept."""

    policies: NonNegativeInt = 2
    """Newest policies kept besides those that were evaluated; 0 keeps all."""
