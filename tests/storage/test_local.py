import json
import threading

import pytest

from reward_finetuning.config import ArtifactError, UserError
from reward_finetuning.storage import Identity, open_store
from reward_finetuning.storage.manifest import MANIFEST

IDENTITY = Identity(kind="policy", fingerprint="f", epoch=3, policy="p")


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "run"))


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
    assert not any((tmp_path / "run").rglob("half"))
    with pytest.raises(ArtifactError, match=r"no whole artifact at .*/a: manifest.json is missing"):
        store.fetch("a")


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


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda path: path.write_text("dat"), r"a.bin has 3 bytes; expected 4 with crc32c [0-9a-f]{8} \(truncated"),
        (lambda path: path.write_text("dato"), r"a.bin was altered: crc32c [0-9a-f]{8}, expected [0-9a-f]{8}"),
        (lambda path: path.unlink(), r"a.bin is missing; expected 4 bytes with crc32c"),
    ],
)
def test_a_damaged_file_is_named_with_its_expected_checksum(store, damage, message):
    store.commit("a", IDENTITY, write())
    damage(store.fetch("a") / "sub" / "a.bin")

    with pytest.raises(ArtifactError, match=message):
        store.fetch("a")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"schema_version": 1}'])
def test_a_damaged_manifest_is_named(store, text):
    store.commit("a", IDENTITY, write())
    (store.fetch("a") / MANIFEST).write_text(text)

    with pytest.raises(ArtifactError, match=r"a/manifest.json is no manifest"):
        store.fetch("a")


def test_a_manifest_of_another_schema_version_is_refused(store):
    store.commit("a", IDENTITY, write())
    path = store.fetch("a") / MANIFEST
    path.write_text(json.dumps(json.loads(path.read_text()) | {"schema_version": 99}))

    with pytest.raises(ArtifactError, match="schema version 99; this version reads 1"):
        store.fetch("a")


def test_a_file_that_the_artifact_does_not_hold_is_named(store):
    store.commit("a", IDENTITY, write())

    with pytest.raises(ArtifactError, match=r"holds no b.bin; it holds sub/a.bin"):
        store.fetch("a", ["b.bin"])


def test_leftovers_of_an_interrupted_delete_do_not_block_a_new_commit(store):
    folder = store.fetch("a") if store.manifest("a") else None
    assert folder is None
    store.commit("a", IDENTITY, write("old"))
    (store.fetch("a") / MANIFEST).unlink()  # delete removes the manifest first

    store.commit("a", IDENTITY, write("new"))

    assert (store.fetch("a") / "sub" / "a.bin").read_text() == "new"


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


def test_damaged_json_is_named(store, tmp_path):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "x.json").write_text("{")

    with pytest.raises(ArtifactError, match=r"x.json is no JSON"):
        store.read_json("x.json")


def test_a_scheme_that_is_not_supported_is_named():
    with pytest.raises(UserError, match="not s3://"):
        open_store("s3://bucket/run")
