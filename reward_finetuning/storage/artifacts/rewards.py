"""The file of a rewards artifact: one row a sample, one column a scorer, and the combined reward."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from reward_finetuning.records import Rewards
from reward_finetuning.storage.artifacts.table_file import whole_table
from reward_finetuning.storage.documents import contents_of

REWARDS = "rewards.parquet"
COMBINED = "reward"


def write_rewards(folder: Path, samples: Sequence[int], rewards: Rewards) -> None:
    """Write the rewards of these sample indices, [B]."""
    table = pa.table({"sample": list(samples), **rewards.scores, COMBINED: rewards.combined})
    pq.write_table(table, folder / REWARDS)


def read_rewards(folder: Path) -> tuple[list[int], Rewards]:
    """Sample indices and their rewards.

    Raises:
        ArtifactError: the file holds something else.
    """
    with contents_of(folder / REWARDS):
        table = whole_table(folder / REWARDS)
        samples = [int(i) for i in table["sample"].to_pylist()]
        columns = {name: np.asarray(table[name], dtype=np.float64) for name in table.column_names if name != "sample"}
        combined = columns.pop(COMBINED)
        return samples, Rewards(columns, combined)
