"""All settings of a run, one file per section; importing it needs pydantic alone."""

from reward_finetuning.config.either import load_run_or_evaluation, parse_run_or_evaluation
from reward_finetuning.config.errors import ArtifactError, RetryableError, TrainingError, UserError
from reward_finetuning.config.evaluation_run import EvaluationRun
from reward_finetuning.config.load import load_config, parse_config
from reward_finetuning.config.run import RunConfig

__all__ = [
    "ArtifactError",
    "EvaluationRun",
    "RetryableError",
    "RunConfig",
    "TrainingError",
    "UserError",
    "load_config",
    "load_run_or_evaluation",
    "parse_config",
    "parse_run_or_evaluation",
]
