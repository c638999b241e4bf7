import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reward_finetuning.config import ArtifactError
from reward_finetuning.storage.artifacts.table_file import whole_table
from reward_finetuning.storage.documents import contents_of

TABLE = pa.table({"prompt": ["a red circle", "two blue squares"], "reward": [0.5, -1.0]})


def test_a_table_is_read_whole_also_below_a_folder_that_has_the_form_of_a_partition(tmp_path):
    folder = tmp_path / "seed=1"
    folder.mkdir()
    pq.write_table(TABLE, folder / "table.parquet")

    assert whole_table(folder / "table.parquet").equals(TABLE)


def test_reading_imports_no_datasets(tmp_path):
    pq.write_table(TABLE, tmp_path / "table.parquet")
    program = (
        "import sys; from pathlib import Path; from reward_finetuning.storage.artifacts.table_file import whole_table; "
        f"whole_table(Path({str(tmp_path)!r}, 'table.parquet')); print('pyarrow.dataset' in sys.modules)"
    )

    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert run.stdout == "False\n"


def test_a_file_that_is_no_table_is_refused(tmp_path):
    file = tmp_path / "table.parquet"
    file.write_bytes(b"PAR1 and nothing else")

    problem = r"table\.parquet does not hold what this version writes there"
    with pytest.raises(ArtifactError, match=problem), contents_of(file):
        whole_table(file)
