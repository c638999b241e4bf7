"""Files of a run directory that someone has edited: one clear error each, never a crash and never another file."""

import json

import pytest

from reward_finetuning.config import ArtifactError
from reward_finetuning.storage import (
    Identity,
    Reference,
    RunDirectory,
    cache,
    open_store,
    read_reference,
    read_references,
)
from reward_finetuning.storage.documents import from_text
from reward_finetuning.storage.manifest import parse_manifest
from reward_finetuning.storage.reference import weights_sha256

IDENTITY = Identity(kind="policy", fingerprint="f", epoch=1)
WRONG = [None, 3, "text", [], {"epoch": "many"}, {"epoch": -1}, {"epoch": 1.5}, {"epoch": {}}, {"unknown": 1}]


@pytest.fixture
def run(run_config):
    made = RunDirectory(run_config())
    made.begin({}, {})
    return made


def overwrite(run, name, value):
    assert run.store.replace_json(name, value, expected=run.store.read_json(name))


@pytest.mark.parametrize("content", [each for each in WRONG if isinstance(each, dict)])
def test_a_latest_json_of_wrong_types_is_one_clear_error(run, content):
    overwrite(run, "latest.json", content)

    with pytest.raises(ArtifactError, match=r"latest.json was altered: (epoch|unknown)"):
        run.latest()


@pytest.mark.parametrize(
    "change", [{"fingerprint": 3}, {"fingerprint": None}, {"config": []}, {"config": "a"}, {"fingerprint": ["a"]}]
)
def test_a_run_json_of_wrong_types_is_one_clear_error(run, change):
    overwrite(run, "run.json", run.describe() | change)

    for read in (run.describe, run.check, run.fingerprinted):
        with pytest.raises(ArtifactError, match=r"run.json was altered"):
            read()


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"a": ' * 50_000,
        b"9" * 5000,
        b'{"epoch": ' + b"9" * 5000 + b"}",
        b"null",
        b"[]",
        b'"text"',
    ],
)
def test_a_text_that_is_no_json_object_is_one_clear_error(text):
    with pytest.raises(ArtifactError, match=r"latest\.json"):
        from_text(text, "latest.json")


@pytest.mark.parametrize(
    "change",
    [
        {"files": 3},
        {"files": {"w": {"size": "big", "crc32c": "0"}}},
        {"files": {"w": {"size": -1, "crc32c": "0"}}},
        {"files": {"w": None}},
        {"facts": []},
        {"identity": {}},
        {"objects": {"w": {"object": 1, "generation": "x"}}},
        {"schema_version": "one"},
    ],
)
def test_a_manifest_of_wrong_types_is_one_clear_error(change):
    manifest = {"identity": IDENTITY.model_dump(), "files": {}} | change

    with pytest.raises(ArtifactError, match=r"manifest\.json is no manifest of this project \("):
        parse_manifest(json.dumps(manifest), "manifest.json")


@pytest.mark.parametrize("name", ["../latest.json", "/etc/passwd", "a/../../b", "", "a//b", "./a"])
def test_a_manifest_never_names_a_file_outside_its_artifact(name):
    manifest = {"identity": IDENTITY.model_dump(), "files": {name: {"size": 1, "crc32c": "0"}}}

    with pytest.raises(ArtifactError, match="is no path below the artifact's folder"):
        parse_manifest(json.dumps(manifest), "manifest.json")


def test_a_bucket_manifest_that_does_not_say_where_a_file_lies_is_one_clear_error(bucket):
    store = open_store(f"{bucket.uri}/runs/tiny")
    store.commit("policy", IDENTITY, lambda folder: (folder / "w").write_text("1") and {})
    manifest = store.manifest("policy").model_dump(mode="json") | {"objects": {}}
    bucket.put("runs/tiny/policy/manifest.json", json.dumps(manifest).encode())

    cache.drop(store.manifest("policy").checksum)
    for read in (store.fetch, store.check):
        with pytest.raises(ArtifactError, match="does not say which object holds w"):
            read("policy")


@pytest.mark.parametrize("text", ["[3]", "[", '[{"epoch": "x"}]', "[[]]", '{"epoch": {}}', "{", "{}"])
def test_a_reference_of_wrong_types_is_one_clear_error(text):
    with pytest.raises(ArtifactError, match="artifact reference"):
        read_references([text])


def test_references_keep_their_order(tmp_path):
    first, second = Reference(epoch=1, name="a"), Reference(epoch=1, name="b")
    (tmp_path / "r").write_text(first.model_dump_json())

    assert read_references([str(tmp_path / "r"), json.dumps([second.model_dump()])]) == [first, second]
    assert read_reference(second.model_dump_json()) == second


@pytest.mark.parametrize("facts", [{}, {"weights_sha256": 3}])
def test_a_reference_without_weights_is_one_clear_error(facts):
    with pytest.raises(ArtifactError, match="weights_sha256 must be a str"):
        weights_sha256(Reference(name="epochs/0001/report-a", epoch=1, facts=facts))
