import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reward_finetuning.config import UserError
from reward_finetuning.prompts import read_prompts


def write(path, captions, **columns):
    path.parent.mkdir(parents=True, exist_ok=True)
    labels = {"label_0": [1.0] * len(captions), "ranking_id": list(range(len(captions)))}
    pq.write_table(pa.table({"caption": captions, **labels, **columns}), path)
    return path


def test_captions_become_prompts_each_once(tmp_path):
    path = write(tmp_path / "part.parquet", ["a cat", "a cat", "", None, "a dog"])

    prompts = read_prompts(f"pickapic:{path}")

    assert [p.text for p in prompts.prompts] == ["a cat", "a dog"]
    assert (prompts.duplicates, prompts.empties) == (1, 2)


def test_a_folder_of_one_split_is_read_in_order_of_its_parts(tmp_path):
    write(tmp_path / "data" / "test_unique-00001-of-00002-ab.parquet", ["c", "a"])
    write(tmp_path / "data" / "test_unique-00000-of-00002-cd.parquet", ["a", "b"])

    prompts = read_prompts(f"pickapic:{tmp_path}")

    assert [(p.text, p.split) for p in prompts.prompts] == [(t, "test_unique") for t in ("a", "b", "c")]


def test_splits_are_never_mixed_and_a_pattern_picks_one(tmp_path):
    write(tmp_path / "train-00000-of-00001-ab.parquet", ["a"])
    write(tmp_path / "test-00000-of-00001-ab.parquet", ["b"])

    with pytest.raises(
        UserError, match=r"several splits \(test, train\), and test prompts must not be trained on; name"
    ):
        read_prompts(f"pickapic:{tmp_path}")
    assert [p.text for p in read_prompts(f"pickapic:{tmp_path}/train-*.parquet").prompts] == ["a"]


def test_the_pictures_are_not_read(tmp_path):
    path = tmp_path / "p.parquet"
    table = pa.table({"caption": ["a"] * 8, "jpg_0": [bytes([i]) * 100_000 for i in range(8)]})
    pq.write_table(table, path, use_dictionary=False, compression="none")
    pictures = pq.ParquetFile(path).metadata.row_group(0).column(1)
    data = bytearray(path.read_bytes())
    start = pictures.data_page_offset
    data[start : start + pictures.total_compressed_size] = b"\xff" * pictures.total_compressed_size
    path.write_bytes(data)

    assert [p.text for p in read_prompts(f"pickapic:{path}").prompts] == ["a"]
    with pytest.raises(OSError, match="Couldn't deserialize thrift"):
        pq.read_table(path)


def test_a_missing_column_is_named_with_what_is_there(tmp_path):
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"prompt": ["a"], "rank": [1]}), path)

    with pytest.raises(UserError, match=r"p.parquet has no column `caption`, .*; it has prompt, rank"):
        read_prompts(f"pickapic:{path}")


def test_a_column_that_is_no_text_is_refused(tmp_path):
    path = tmp_path / "p.parquet"
    pq.write_table(pa.table({"caption": [1, 2]}), path)

    with pytest.raises(UserError, match="column `caption` must be text, it is int64"):
        read_prompts(f"pickapic:{path}")


def test_a_truncated_file_a_foreign_one_and_none_are_named(tmp_path):
    path = write(tmp_path / "p.parquet", ["a"])
    path.write_bytes(path.read_bytes()[:-9])

    with pytest.raises(UserError, match=r"p.parquet is no whole parquet file"):
        read_prompts(f"pickapic:{path}")
    with pytest.raises(UserError, match=r"no.parquet does not exist"):
        read_prompts("pickapic:no.parquet")
    with pytest.raises(UserError, match="no parquet file is there"):
        read_prompts(f"pickapic:{tmp_path}/train-*.parquet")


def test_a_parquet_file_without_the_notation_needs_the_name_of_its_column(tmp_path):
    path = write(tmp_path / "p.parquet", ["a \u00e9"])

    with pytest.raises(UserError, match=r"p.parquet has no column 'prompt'; it has .*name one as FILE:COLUMN"):
        read_prompts(str(path))


def test_the_digest_of_a_folder_covers_the_parquet_files_of_a_linked_folder(tmp_path):
    shared = write(tmp_path / "shared" / "train-00000-of-00002-ab.parquet", ["a cat"])
    write(tmp_path / "data" / "train-00001-of-00002-cd.parquet", ["a dog"])
    (tmp_path / "data" / "linked").symlink_to(shared.parent)
    before = read_prompts(f"pickapic:{tmp_path / 'data'}")

    write(shared, ["a red cat"])

    assert {p.text for p in before.prompts} == {"a cat", "a dog"}
    assert read_prompts(f"pickapic:{tmp_path / 'data'}").digest != before.digest
