"""Every knob of a run, one file a section; importing it needs pydantic alone."""

from reward_finetuning.config.errors import ArtifactError, RetryableError, TrainingError, UserError
from reward_finetuning.config.load import load_config, parse_config
from reward_finetuning.config.run import RunConfig

__all__ = [
    "ArtifactError",
    "RetryableError",
    "RunConfig",
    "TrainingError",
    "UserError",
    "load_config",
    "parse_config",
]
