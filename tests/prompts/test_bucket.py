"""Prompt sets in buckets."""

import datetime
import json

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.prompts import read_prompts
from reward_finetuning.prompts.hpdv2 import STYLES
from reward_finetuning.prompts.pointer import follow


def test_a_set_in_a_bucket_has_the_digest_that_it_has_on_disk(bucket, tmp_path):
    content = b'{"prompt": "a red circle", "id": "1"}\n{"prompt": "a blue square", "id": "2"}\n'
    (tmp_path / "set.jsonl").write_bytes(content)
    bucket.put("sets/set.jsonl", content)

    prompts = read_prompts(f"{bucket.uri}/sets/set.jsonl")

    assert prompts.digest == read_prompts(str(tmp_path / "set.jsonl")).digest
    assert prompts.source == f"{bucket.uri}/sets/set.jsonl"


def test_a_set_that_was_replaced_is_read_anew_and_downloaded_once(bucket):
    bucket.put("set.txt", b"a red circle\n")
    before = [read_prompts(f"{bucket.uri}/set.txt").digest for _ in range(3)]
    bucket.put("set.txt", b"a blue circle\n")

    after = [read_prompts(f"{bucket.uri}/set.txt").digest for _ in range(3)]

    assert len(set(before)) == len(set(after)) == 1
    assert before[0] != after[0]
    assert bucket.downloads() == ["set.txt"] * 2


def test_a_benchmark_of_several_files_is_a_folder(bucket, tmp_path):
    for style in STYLES:
        (tmp_path / f"{style}.json").write_text(json.dumps([f"{style} of a cat"]))
    bucket.put_folder(tmp_path, "hpdv2")

    prompts = read_prompts(f"hpdv2:{bucket.uri}/hpdv2")

    assert prompts.digest == read_prompts(f"hpdv2:{tmp_path}").digest


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a cat\n\xff\n", r"prompt set (gs|s3)://bucket/set.txt:2 is not UTF-8"),
        (b"\n", r"prompt set (gs|s3)://bucket/set.txt holds no prompt"),
        (None, r"(gs|s3)://bucket/set.txt does not exist"),
    ],
)
def test_what_is_wrong_is_said_of_the_object(bucket, content, said):
    if content is not None:
        bucket.put("set.txt", content)

    with pytest.raises(UserError, match=said):
        read_prompts(f"{bucket.uri}/set.txt")


def test_a_dated_pointer_in_a_bucket_leads_to_the_newest_set_there(bucket):
    for name in ("p-2026-10-31.pointer", "p-2026-11-21.pointer", "p-2026-11-23.pointer"):
        bucket.put(f"sets/{name}", f"of-{name}.txt\n".encode())
    bucket.put("sets/of-p-2026-11-21.pointer.txt", b"a red circle\n")

    source = follow(f"{bucket.uri}/sets/p-{{date}}.pointer", datetime.date(2026, 11, 22))

    assert source == f"{bucket.uri}/sets/of-p-2026-11-21.pointer.txt"
    assert [prompt.text for prompt in read_prompts(source).prompts] == ["a red circle"]
