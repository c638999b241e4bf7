"""Tables in Parquet files."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq


def whole_table(path: Path) -> pa.Table:
    """All rows and columns of a file. `pq.read_table` would import pyarrow.dataset, which takes longer than reading."""
    with pq.ParquetFile(path) as file:
        return file.read()
