"""What can happen to files on a disk."""

import os
from pathlib import Path

import pytest

from reward_finetuning.config import ArtifactError
from reward_finetuning.storage import Identity, open_store
from reward_finetuning.storage.manifest import MANIFEST

IDENTITY = Identity(kind="policy", fingerprint="f", epoch=3)


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path / "run"))


def write(text="data"):
    def fill(folder):
        (folder / "sub").mkdir()
        (folder / "sub" / "a.bin").write_text(text)
        return {}

    return fill


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


def test_leftovers_of_an_interrupted_delete_do_not_block_a_new_commit(store):
    store.commit("a", IDENTITY, write("old"))
    (store.fetch("a") / MANIFEST).unlink()  # delete removes the manifest first

    store.commit("a", IDENTITY, write("new"))

    assert (store.fetch("a") / "sub" / "a.bin").read_text() == "new"


def test_a_manifest_on_disk_says_nothing_of_objects(store):
    store.commit("a", IDENTITY, write())

    assert '"objects"' not in (store.fetch("a") / MANIFEST).read_text()


def test_b19_weights_are_on_the_disk_before_the_manifest_that_names_them(tmp_path, monkeypatch):
    synced = []
    fsync = os.fsync

    def remember(descriptor):
        synced.append(Path(os.readlink(f"/proc/self/fd/{descriptor}")).relative_to(tmp_path).as_posix())
        fsync(descriptor)

    monkeypatch.setattr(os, "fsync", remember)

    def write(folder):
        (folder / "part").mkdir()
        (folder / "part" / "weights.safetensors").write_bytes(b"w")
        (folder / "state.json").write_bytes(b"{}")
        return {}

    open_store(str(tmp_path / "run")).commit("epochs/0001/policy", IDENTITY, write)

    names = ["/".join(part for part in each.split("/") if not part.startswith(".")) for each in synced]
    manifest = names.index("run/epochs/0001/manifest.json")
    for file in ("part/weights.safetensors", "part", "state.json"):
        assert names.index(f"run/epochs/0001/{file}") < manifest
    assert names[-1] == "run/epochs/0001"  # the rename
    assert {"", "run", "run/epochs"} <= {"" if each == "." else each for each in names[:manifest]}  # new folders
