"""Which prompts are trained on."""

from pydantic import PositiveInt

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.locations import PromptSource


class PromptsConfig(Frozen):
    """The training prompts."""

    train: PromptSource = "shapes:train"
    """A prompt file (JSON Lines or text); a column of a table, FILE:COLUMN (parquet, CSV, TSV, JSON); a built-in set:
    `shapes:train|heldout|large`, `animals`, or `ppod:colour|count|composition|location` with `-unseen` or without;
    `hpdv2:PATH` or `pickapic:PATH`; a dataset of the hub, `hf:owner/name[split].column`. A file or PATH may be
    gs://BUCKET/NAME or s3://BUCKET/NAME."""

    prompts_per_epoch: PositiveInt = 16
    """N, distinct prompts drawn each epoch; every prompt comes once before any comes twice."""
