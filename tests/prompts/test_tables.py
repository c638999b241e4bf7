import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.inputs import absolute_paths
from reward_finetuning.prompts import read_prompts

ROWS = [
    {"caption": "a red circle, on a mat", "category": "colour"},
    {"caption": 'a "blue"\nsquare', "category": None},
    {"caption": "", "category": "none"},
]
CSV = 'caption,category\r\n"a red circle, on a mat",colour\r\n"a ""blue""\nsquare",\r\n,none\r\n'


def as_parquet(rows, path):
    pq.write_table(pa.Table.from_pylist(rows), path)


WRITERS = {
    "p.parquet": as_parquet,
    "p.csv": lambda rows, path: path.write_text(CSV, newline="", encoding="utf-8-sig"),
    "p.TSV": lambda rows, path: path.write_text(CSV.replace(",c", "\tc").replace("e,\r", "e\t\r").replace(
        '",', '"\t').replace("\n,n", "\n\tn"), newline=""),
    "p.json": lambda rows, path: path.write_text(json.dumps(rows, indent=1)),
    "p.jsonl": lambda rows, path: path.write_text("".join(json.dumps(row) + "\n" for row in rows)),
}  # fmt: skip


@pytest.mark.parametrize("name", WRITERS)
def test_a_named_column_of_each_format_gives_the_same_prompts(tmp_path, name):
    WRITERS[name](ROWS, tmp_path / name)

    prompts = read_prompts(f"{tmp_path / name}:caption")

    texts = [(p.text, p.category) for p in prompts.prompts]
    assert texts == [("a red circle, on a mat", "colour"), ('a "blue"\nsquare', "")]
    assert prompts.empties == 1


@pytest.mark.parametrize("name", ["p.csv", "p.parquet"])
def test_without_a_column_a_table_is_read_by_its_column_prompt(tmp_path, name):
    path = tmp_path / name
    pq.write_table(pa.table({"prompt": ["a"], "n": [1]}), path) if name == "p.parquet" else path.write_text(
        "n,prompt\n1,a\n"
    )

    assert [p.text for p in read_prompts(str(path)).prompts] == ["a"]


def test_the_digest_covers_the_prompts_and_not_the_format(tmp_path):
    for name, write in WRITERS.items():
        write(ROWS, tmp_path / name)

    assert len({read_prompts(f"{tmp_path / name}:caption").digest for name in WRITERS}) == 1


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", "text,n\na,1\n", r"p.csv has no column 'prompt'; it has \['text', 'n'\]; name one as FILE:COLUMN"),
        ("p.csv", "", r"p.csv has no column 'prompt'; it has \[\]"),
        ("p.csv", "prompt,n\na,1,2\n", r"p.csv:2 has another number of fields"),
        ("p.csv", "prompt,n\na\n", r"p.csv:2 has another number of fields"),
        ("p.csv", 'prompt\n"a"b\n', r"p.csv:2 is no row of a table"),
        ("p.csv", "prompt\n" + "x" * 200_000 + "\n", r"p.csv:2 is no row of a table: field larger"),
        ("p.csv", b"prompt\n\xff\n", r"p.csv:2 is not UTF-8"),
        ("p.parquet", b"PAR1 no", r"p.parquet is no whole parquet file"),
        ("p.json:text", '[{"text": 1}]', r"p.json, item 0: column 'text' must be text, got 1"),
        ("p.json:text", '["a"]', r"p.json, item 0 must be a JSON object"),
        ("p.json:text", "[1", r"p.json is no JSON"),
        ("p.jsonl:text", '{"prompt": "a"}\n', r"p.jsonl:1 has no column 'text'; it has \['prompt'\]"),
        ("p.jsonl:text", '{"text": "a", "id": [1]}\n', r"p.jsonl:1: id must be a text or a number"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_with_row_and_reason(tmp_path, name, content, message):
    path = tmp_path / name.partition(":")[0]
    path.write_bytes(content if isinstance(content, bytes) else content.encode())

    with pytest.raises(UserError, match=message):
        read_prompts(str(tmp_path / name))


def test_a_column_that_is_no_text_is_refused(tmp_path):
    pq.write_table(pa.table({"prompt": [1, 2]}), tmp_path / "p.parquet")

    with pytest.raises(UserError, match=r"row 0: column 'prompt' must be text, got 1"):
        read_prompts(str(tmp_path / "p.parquet"))


def test_a_path_with_a_column_becomes_absolute_and_keeps_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = RunConfig(name="a", prompts={"train": "p.csv:caption"})

    assert absolute_paths(config).prompts.train == f"{tmp_path}/p.csv:caption"
