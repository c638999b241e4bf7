"""What every store does, on disk and in a bucket."""

import json
import threading

import pytest

from reward_finetuning.config import ArtifactError, UserError
from reward_finetuning.storage import Identity, Manifest, open_store
from reward_finetuning.storage.manifest import MANIFEST

IDENTITY = Identity(kind="policy", fingerprint="f", epoch=3, policy="p")


def write(text="data", facts=None):
    def fill(folder):
        (folder / "sub").mkdir()
        (folder / "sub" / "a.bin").write_text(text)
        return facts or {"n": 1}

    return fill


def test_a_committed_artifact_is_read_back_checked(store):
    manifest = store.commit("epochs/0003/policy", IDENTITY, write())

    folder = store.fetch("epochs/0003/policy")

    assert (folder / "sub" / "a.bin").read_text() == "data"
    assert store.manifest("epochs/0003/policy") == manifest
    assert manifest.facts == {"n": 1}
    assert manifest.files["sub/a.bin"].size == 4


def test_a_second_commit_adopts_the_first_and_does_no_work(store):
    first = store.commit("a", IDENTITY, write("first"))

    second = store.commit("a", IDENTITY, lambda folder: pytest.fail("was written again"))

    assert second == first


def test_another_identity_under_the_same_name_is_refused_with_both(store):
    store.commit("a", IDENTITY, write())

    with pytest.raises(ArtifactError, match=r"another artifact.*'epoch': 3.*'epoch': 4"):
        store.commit("a", IDENTITY.model_copy(update={"epoch": 4}), write())


def test_a_failed_write_leaves_nothing(store, tmp_path):
    def fail(folder):
        (folder / "half").write_text("x")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        store.commit("a", IDENTITY, fail)

    assert store.manifest("a") is None
    assert not any(tmp_path.rglob("half"))
    with pytest.raises(ArtifactError, match=r"no whole artifact at .*/a: manifest.json is missing"):
        store.fetch("a")


@pytest.mark.slow
def test_of_many_writers_at_once_one_wins_and_all_get_its_manifest(store):
    barrier = threading.Barrier(6)
    results = []

    def attempt(number):
        def fill(folder):
            (folder / "who").write_text(str(number))
            barrier.wait()  # all have written before any can publish
            return {"who": number}

        results.append(store.commit("a", IDENTITY, fill))

    threads = [threading.Thread(target=attempt, args=(n,)) for n in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert len({manifest.facts["who"] for manifest in results}) == 1
    assert (store.fetch("a") / "who").read_text() == str(results[0].facts["who"])


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}'])
def test_a_damaged_manifest_is_named(store, alter, text):
    store.commit("a", IDENTITY, write())
    alter(f"a/{MANIFEST}", text)

    with pytest.raises(ArtifactError, match=r"a/manifest.json is no manifest"):
        store.fetch("a")


def test_a_manifest_of_another_schema_version_is_refused(store, alter):
    manifest = store.commit("a", IDENTITY, write())
    alter(f"a/{MANIFEST}", json.dumps(manifest.model_dump() | {"schema_version": 99}))

    with pytest.raises(ArtifactError, match="schema version 99; this version reads 1"):
        store.fetch("a")


def test_a_file_that_the_artifact_does_not_hold_is_named(store):
    store.commit("a", IDENTITY, write())

    with pytest.raises(ArtifactError, match=r"holds no b.bin; it holds sub/a.bin"):
        store.fetch("a", ["b.bin"])


def test_delete_is_complete_and_may_be_repeated(store):
    store.commit("epochs/a", IDENTITY, write())

    store.delete("epochs/a")
    store.delete("epochs/a")

    assert store.names("epochs") == []


def test_json_is_created_once(store):
    assert store.create_json("x.json", {"a": 1})
    assert not store.create_json("x.json", {"a": 2})
    assert store.read_json("x.json") == {"a": 1}
    assert store.read_json("y.json") is None


def test_json_moves_only_from_what_was_expected(store):
    assert store.replace_json("x.json", {"n": 1}, expected=None)
    assert not store.replace_json("x.json", {"n": 9}, expected=None)
    assert not store.replace_json("x.json", {"n": 9}, expected={"n": 0})
    assert store.replace_json("x.json", {"n": 2}, expected={"n": 1})
    assert store.read_json("x.json") == {"n": 2}


def test_concurrent_moves_never_lose_one(store):
    store.create_json("n.json", {"n": 0})

    def add():
        moved = False
        while not moved:
            value = store.read_json("n.json")
            moved = store.replace_json("n.json", {"n": value["n"] + 1}, expected=value)

    threads = [threading.Thread(target=add) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert store.read_json("n.json") == {"n": 8}


@pytest.mark.parametrize(("text", "said"), [("{", "is no JSON"), ("[]", "must hold a JSON object")])
def test_damaged_json_is_named(store, alter, text, said):
    store.create_json("x.json", {})
    alter("x.json", text)

    with pytest.raises(ArtifactError, match=f"x.json {said}"):
        store.read_json("x.json")


def test_names_are_those_of_what_is_whole(store):
    store.commit("epochs/0001/policy", IDENTITY, write())
    store.create_json("epochs/0001/note.json", {})

    def look(folder):
        (folder / "half").write_text("x")
        assert store.names("epochs/0001") == ["note.json", "policy"]
        return {}

    store.commit("epochs/0001/rollouts", IDENTITY, look)

    assert store.names("epochs/0001") == ["note.json", "policy", "rollouts"]
    assert store.names("epochs") == ["0001"]
    assert store.names("elsewhere") == []


def test_a_text_is_written_once_and_never_another(store):
    uri = store.create_text("prompts/a.jsonl", "é\n")
    assert uri == f"{store.uri}/prompts/a.jsonl" == store.create_text("prompts/a.jsonl", "é\n")

    with pytest.raises(ArtifactError, match=r"a.jsonl holds another text"):
        store.create_text("prompts/a.jsonl", "e\n")


def test_all_documents_of_a_folder_are_read_by_name(store):
    for name in ("b.json", "a.json", "a.json.sent"):
        store.create_json(f"journal/{name}", {"name": name})

    read = store.read_all("journal", ".json")

    assert list(read.items()) == [("a.json", {"name": "a.json"}), ("b.json", {"name": "b.json"})]
    assert store.read_all("nothing", ".json") == {}


def test_the_checksum_does_not_depend_on_where_an_artifact_lies(tmp_path, bucket):
    stores = [open_store(str(tmp_path / "run")), *map(open_store, (f"{bucket.uri}/run", f"{bucket.uri}/other/run"))]

    checksums = {store.commit("a", IDENTITY, write()).checksum for store in stores}

    assert len(checksums) == 1
    assert {Manifest.model_validate(store.manifest("a")).checksum for store in stores} == checksums


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("hdfs://bucket/run", "gs://BUCKET/PREFIX or s3://BUCKET/PREFIX are supported, not hdfs://"),
        ("s3://", "names no bucket; write s3://BUCKET/PREFIX"),
        ("gs://", "names no bucket"),
        ("gs:///run", "names no bucket"),
        ("gs://Bucket/run", "names no bucket"),
        ("gs://bucket/../other", "no meaning in a bucket"),
    ],
)
def test_a_place_that_is_none_is_named(uri, said):
    with pytest.raises(UserError, match=said):
        open_store(uri)


def test_slashes_too_many_name_the_same_place(bucket):
    assert open_store(f"{bucket.uri}/runs//tiny/").uri == f"{bucket.uri}/runs/tiny"
