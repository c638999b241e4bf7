"""Prompts from datasets of the hub: the libraries `datasets` and `huggingface_hub` against a hub on loopback."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.config.locations import HubPrompts, hub_prompts
from reward_finetuning.inputs import check_names
from reward_finetuning.prompts import hub, read_prompts
from reward_finetuning.storage.cache import FOLDER

TESTS = Path(__file__).parents[1]
READS = """
import io, json, os, sys, time

import pyarrow as pa
import pyarrow.parquet as pq
from servers.hub import HubServer

def parquet(rows):
    file = io.BytesIO()
    pq.write_table(pa.Table.from_pylist(rows), file)
    return file.getvalue()

def answer(source):
    from reward_finetuning.prompts import read_prompts
    hub._commit.cache_clear()  # as in another process
    begin = time.monotonic()
    try:
        read = read_prompts(source)
        prompts = [[prompt.text, prompt.category] for prompt in read.prompts]
        return {"source": read.source, "digest": read.digest, "prompts": prompts}
    except Exception as error:
        return {"error": type(error).__name__, "text": str(error), "seconds": time.monotonic() - begin}

COLOURS = [
    {"text": "a red circle", "category": "colour", "picture": b"1"},
    {"text": "a blue square", "category": None, "picture": b"2"},
]
with HubServer() as server:
    os.environ["HF_ENDPOINT"] = server.url
    from reward_finetuning.prompts import hub
    files = {"data/train-0.parquet": parquet(COLOURS), "data/test-0.parquet": parquet(COLOURS[:1])}
    first = server.commit("owner/set", files)
    server.commit("owner/table", {"train.csv": b'caption,n\\n"a red circle, here",1\\n'})
    server.commit("owner/gated", {})
    server.commit("owner/down", {})
    server.gated.add("owner/gated")
    server.down.add("owner/down")
    sources = {
        "train": "hf:owner/set[train].text", "test": "hf:owner/set[test].text",
        "csv": "hf:owner/table[train].caption", "column": "hf:owner/set[train].prompt",
        "bytes": "hf:owner/set[train].picture", "split": "hf:owner/set[dev].text",
        "revision": "hf:owner/set@v2[train].text", "missing": "hf:owner/none[train].text",
        "gated": "hf:owner/gated[train].text", "down": "hf:owner/down[train].text",
    }
    answers = {name: answer(source) for name, source in sources.items()}
    second = server.commit("owner/set", {"data/train-0.parquet": parquet(COLOURS[1:])})
    answers["moved"] = answer("hf:owner/set[train].text")
    server.requests.clear()
    answers["pinned"] = answer(f"hf:owner/set@{first}[train].text")
    answers["requests"] = server.requests
answers["pinned, no hub"] = answer(f"hf:owner/set@{first}[train].text")
answers["no hub"] = answer("hf:owner/set[train].text")
print(json.dumps(answers | {"first": first, "second": second}))
"""


ONE_WORKER = pytest.mark.xdist_group("hub-of-datasets")  # the fixture takes six seconds


@pytest.fixture(scope="module")
def answers(tmp_path_factory):
    """What reads of a hub give, in a process of its own: the address of the hub is read when its client is imported."""
    folder = tmp_path_factory.mktemp("hub")
    environment = {key: value for key, value in os.environ.items() if not key.lower().endswith("_proxy")}
    environment |= {"HF_HOME": str(folder / "home"), FOLDER: str(folder / "cache")}
    environment["PYTHONPATH"] = os.pathsep.join([str(TESTS.parent), str(TESTS), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", READS], capture_output=True, text=True, env=environment, check=False, cwd=folder
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


@pytest.mark.slow
@ONE_WORKER
def test_a_column_of_a_split_is_read_with_the_commit_that_it_came_from(answers):
    train, test, table = answers["train"], answers["test"], answers["csv"]

    assert train["source"] == f"hf:owner/set@{answers['first']}[train].text"
    assert train["prompts"] == [["a red circle", "colour"], ["a blue square", ""]]
    assert test["prompts"] == [["a red circle", "colour"]]
    assert table["prompts"] == [["a red circle, here", ""]]


@pytest.mark.slow
@ONE_WORKER
def test_other_content_of_a_branch_is_another_prompt_set_and_a_commit_stays_as_it_is(answers):
    assert answers["moved"]["source"] == f"hf:owner/set@{answers['second']}[train].text"
    assert answers["moved"]["digest"] != answers["train"]["digest"]
    assert answers["pinned"] == answers["train"]


@pytest.mark.slow
@ONE_WORKER
def test_a_commit_that_was_read_needs_no_hub_and_a_branch_without_one_is_worth_a_retry_within_seconds(answers):
    assert answers["requests"] == []
    assert answers["pinned, no hub"] == answers["train"]
    assert answers["no hub"]["error"] == "RetryableError"
    assert "the hub cannot be reached; a commit" in answers["no hub"]["text"]
    assert answers["no hub"]["seconds"] < 10


@pytest.mark.slow
@ONE_WORKER
@pytest.mark.parametrize(
    ("name", "error", "text"),
    [
        ("column", "UserError", "has no column 'prompt'; it has ['text', 'category', 'picture']"),
        ("bytes", "UserError", "row 0: column 'picture' must be text, got b'1'"),
        ("split", "UserError", "Bad split: dev. Available splits: ['train', 'test']"),
        ("revision", "UserError", "the hub has no dataset or revision hf:owner/set@v2[train].text"),
        ("missing", "UserError", "the hub has no dataset or revision hf:owner/none[train].text"),
        ("gated", "UserError", "is gated: accept its terms"),
        ("down", "RetryableError", "the hub answered 503"),
    ],
)
def test_what_cannot_be_read_is_an_error_of_one_line(answers, name, error, text):
    assert answers[name]["error"] == error
    assert text in answers[name]["text"]
    assert "\n" not in answers[name]["text"]


def test_a_notation_has_its_parts_and_is_written_as_it_was_read():
    whole = "hf:owner/name@v1.0/sub-set[train].a column"

    assert hub_prompts(whole) == HubPrompts("owner/name", "v1.0", "sub-set", "train", "a column")
    assert hub_prompts(whole).notation == whole
    assert hub_prompts("hf:owner/name[train].text").notation == "hf:owner/name[train].text"


@pytest.mark.parametrize("source", ["hf:owner/name", "hf:owner/name[train]", "hf:name[train].text", "hf:o/n[].text"])
def test_another_notation_is_refused_in_a_config_and_where_it_is_read(source):
    with pytest.raises(ValueError, match=r"is written hf:owner/name\[split\]\.column"):
        RunConfig.model_validate({"name": "a", "prompts": {"train": source}})
    with pytest.raises(UserError, match=r"is written hf:owner/name\[split\]\.column"):
        read_prompts(source)


def test_without_the_library_the_error_is_the_command_that_installs_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "datasets", None)
    hub._commit.cache_clear()

    with pytest.raises(UserError, match=r"library datasets: pip install 'reward-finetuning\[datasets\]'"):
        read_prompts("hf:owner/name[train].text")


def test_its_name_is_accepted_where_a_package_is_compiled():
    check_names(RunConfig.model_validate({"name": "a", "prompts": {"train": "hf:owner/name[train].text"}}))
