"""Prompt sets at gs://."""

import json

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.prompts import read_prompts
from reward_finetuning.prompts.hpdv2 import STYLES


def test_a_set_in_a_bucket_has_the_digest_that_it_has_on_disk(gcs, tmp_path):
    content = b'{"prompt": "a red circle", "id": "1"}\n{"prompt": "a blue square", "id": "2"}\n'
    (tmp_path / "set.jsonl").write_bytes(content)
    gcs.put("sets/set.jsonl", content)

    prompts = read_prompts("gs://bucket/sets/set.jsonl")

    assert prompts.digest == read_prompts(str(tmp_path / "set.jsonl")).digest
    assert prompts.source == "gs://bucket/sets/set.jsonl"


def test_a_set_that_was_replaced_is_read_anew_and_downloaded_once(gcs):
    gcs.put("set.txt", b"a red circle\n")
    before = [read_prompts("gs://bucket/set.txt").digest for _ in range(3)]
    gcs.put("set.txt", b"a blue circle\n")

    after = [read_prompts("gs://bucket/set.txt").digest for _ in range(3)]

    assert len(set(before)) == len(set(after)) == 1
    assert before[0] != after[0]
    assert gcs.downloads() == ["set.txt"] * 2


def test_a_benchmark_of_several_files_is_a_folder(gcs, tmp_path):
    for style in STYLES:
        (tmp_path / f"{style}.json").write_text(json.dumps([f"{style} of a cat"]))
    gcs.put_folder(tmp_path, "hpdv2")

    prompts = read_prompts("hpdv2:gs://bucket/hpdv2")

    assert prompts.digest == read_prompts(f"hpdv2:{tmp_path}").digest


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"a cat\n\xff\n", r"prompt set gs://bucket/set.txt:2 is not UTF-8"),
        (b"\n", r"prompt set gs://bucket/set.txt holds no prompt"),
        (None, r"gs://bucket/set.txt does not exist"),
    ],
)
def test_what_is_wrong_is_said_of_the_object(gcs, content, said):
    if content is not None:
        gcs.put("set.txt", content)

    with pytest.raises(UserError, match=said):
        read_prompts("gs://bucket/set.txt")
