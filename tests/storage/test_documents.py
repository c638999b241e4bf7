import json

import pytest

from reward_finetuning.config import ArtifactError
from reward_finetuning.evaluation.champion import RunSeat
from reward_finetuning.evaluation.task import candidates_in
from reward_finetuning.storage import Reference, RunDirectory
from reward_finetuning.storage.documents import from_text
from reward_finetuning.storage.reference import read_reference, weights_sha256


@pytest.fixture
def run(run_config):
    made = RunDirectory(run_config())
    made.store.create_json("run.json", {"fingerprint": {}, "config": {}})
    return made


def replace(run, name, text):
    path = run.store.uri + "/" + name
    with open(path, "w", encoding="utf-8") as file:
        file.write(text if isinstance(text, str) else json.dumps(text))


HOSTILE = ["[" * 100_000, "[]", "3", "", '{"epoch": ' + "9" * 5000 + "}", '{"epoch": 1, "epoch": 2}', '{"epoch"']


@pytest.mark.parametrize("text", HOSTILE, ids=range(len(HOSTILE)))
def test_hostile_text_of_a_document_is_one_error_that_names_it(run, text):
    for name, read in (("run.json", run.describe), ("latest.json", run.latest)):
        replace(run, name, text)

        with pytest.raises(ArtifactError, match=f"{name} (is no JSON|must hold a JSON object)") as caught:
            read()

        assert len(str(caught.value)) < 500


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"config": {}}, "fingerprint must be a dict, got None"),
        ({"fingerprint": [], "config": {}}, r"fingerprint must be a dict, got \[\]"),
        ({"fingerprint": {}, "config": "x"}, "config must be a dict, got 'x'"),
    ],
)
def test_wrong_types_in_run_json_are_one_error(run, value, message):
    replace(run, "run.json", value)

    for read in (run.describe, run.check, run.fingerprinted, lambda: run.begin({}, {})):
        with pytest.raises(ArtifactError, match=f"run.json was altered: {message}"):
            read()


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({}, "epoch: Field required"),
        ({"epoch": "x"}, "epoch: .*integer.*, got 'x'"),
        ({"epoch": 1, "name": ["x" * 10**5]}, r"name: .*string, got \['x"),
        ({"epoch": 1, "facts": 3}, "facts: .*dictionary, got 3"),
        ({"epoch": 1, "other": 3}, "other: Extra inputs"),
    ],
)
def test_wrong_types_in_latest_json_and_champion_json_are_one_error(run, value, message):
    for name, read in (("latest.json", run.latest), ("champion.json", RunSeat(run).holder)):
        replace(run, name, value)

        with pytest.raises(ArtifactError, match=rf"{name} was altered: {message}") as caught:
            read()

        assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("facts", [{}, {"weights_sha256": 3}, {"weights_sha256": None}])
def test_a_policy_whose_facts_were_altered_is_one_error(facts):
    with pytest.raises(ArtifactError, match="epochs/0001/policy was altered: weights_sha256 must be a str"):
        weights_sha256(Reference(name="epochs/0001/policy", epoch=1, facts=facts))


@pytest.mark.parametrize("facts", [{}, {"policies": 3}, {"policies": [3]}, {"policies": [{"name": 3}]}])
def test_a_reference_without_policies_is_one_error(facts):
    with pytest.raises(ArtifactError, match="the reference to the policies was altered"):
        candidates_in(Reference(epoch=0, facts=facts))


@pytest.mark.parametrize("value", ["9" * 5000 + "}", "", "[" * 10_000], ids=["digits", "unfinished", "nested"])
def test_a_hostile_reference_is_one_error(tmp_path, value):
    text = f'{{"epoch": {value}'
    (tmp_path / "reference").write_text(text)

    for given in (text, str(tmp_path / "reference")):
        with pytest.raises(ArtifactError, match="is no artifact reference of this project") as caught:
            read_reference(given)
        assert len(str(caught.value)) < 500


def test_a_document_is_its_object():
    assert from_text('{"a": [1, {"b": null}]}', "x") == {"a": [1, {"b": None}]}
