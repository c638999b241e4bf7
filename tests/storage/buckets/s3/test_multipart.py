"""Large files: part by part, in bounded memory; nothing is left of an upload that failed or was killed."""

import itertools
import random
import subprocess
import sys

import pytest
from servers.faults import Fault

from reward_finetuning.config import RetryableError, UserError
from reward_finetuning.storage import Identity, cache, open_store
from reward_finetuning.storage.buckets.s3 import multipart
from reward_finetuning.storage.folders import local_folder, upload_folder

IDENTITY = Identity(kind="policy", fingerprint="f", epoch=3, policy="p")
MEBI = 1 << 20

pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture
def store(s3):
    return open_store("s3://bucket/runs/tiny")


@pytest.fixture
def small_parts(monkeypatch):
    """Parts of 5 MiB, the least that S3 takes."""
    monkeypatch.setattr(multipart, "PART_BYTES", 5 * MEBI)
    monkeypatch.setattr("reward_finetuning.storage.buckets.s3.service.PART_BYTES", 5 * MEBI)


def large(folder):
    (folder / "large").write_bytes(random.Random(0).randbytes(11 * MEBI))
    return {}


@pytest.mark.parametrize(
    ("size", "part"), [(1, 16 * MEBI), (160_000 * MEBI, 16 * MEBI), (160_000 * MEBI + 1, 16 * MEBI + 1)]
)
def test_a_file_has_at_most_ten_thousand_parts(size, part):
    assert multipart.part_bytes(size) == part
    assert -(-size // multipart.part_bytes(size)) <= 10_000


@pytest.mark.slow
@pytest.mark.usefixtures("small_parts")
@pytest.mark.parametrize(
    ("kind", "action"),
    [*itertools.product(["upload", "chunk", "complete"], [503, "reset", "lost"]), ("chunk", "corrupt")],
)
def test_a_fault_in_any_part_of_an_upload_is_not_seen(s3, store, kind, action):
    s3.faults.append(Fault(action, kind, "large", times=2, after=1 if kind == "chunk" else 0))

    manifest = store.commit("a", IDENTITY, large)
    cache.drop(manifest.checksum)

    assert (store.fetch("a") / "large").read_bytes() == random.Random(0).randbytes(11 * MEBI)
    store.check("a")
    assert s3.unfinished() == []


@pytest.mark.usefixtures("small_parts")
def test_an_upload_that_fails_for_good_leaves_no_parts(s3, store, patience):
    patience(total_seconds=0.5)
    s3.faults.append(Fault(503, "chunk", "large", after=1, times=10**6))

    with pytest.raises(RetryableError, match="does not answer"):
        store.commit("a", IDENTITY, large)

    assert s3.unfinished() == []
    assert s3.names() == []


@pytest.mark.usefixtures("small_parts")
def test_the_parts_of_a_killed_attempt_are_freed_by_the_next(s3, store, patience):
    patience(total_seconds=0.5)
    s3.faults += [Fault(503, "chunk", "large", times=10**6), Fault(403, "abort", times=10**6)]
    with pytest.raises(RetryableError):  # as a killed process leaves it
        store.commit("a", IDENTITY, large)
    assert len(s3.unfinished()) == 1
    s3.faults.clear()

    store.commit("a", IDENTITY, large)

    assert s3.unfinished() == []


@pytest.mark.usefixtures("small_parts")
def test_an_account_that_may_not_list_uploads_commits(s3, store):
    s3.faults.append(Fault(403, "uploads", times=10**6))

    assert store.commit("a", IDENTITY, large) == store.manifest("a")


@pytest.mark.usefixtures("small_parts")
def test_a_large_file_replaces_nothing(s3, tmp_path):
    (tmp_path / "out").mkdir()
    large(tmp_path / "out")
    s3.put("policies/large", b"of someone else")

    with pytest.raises(UserError, match="s3://bucket/policies/large exists already, with another content"):
        upload_folder(tmp_path / "out", "s3://bucket/policies")

    assert s3.data("policies/large") == b"of someone else"
    assert s3.unfinished() == []


@pytest.mark.usefixtures("small_parts")
def test_a_folder_of_large_files_comes_back_as_it_was(s3, tmp_path):
    (tmp_path / "out").mkdir()
    large(tmp_path / "out")

    upload_folder(tmp_path / "out", "s3://bucket/policies")

    assert (local_folder("s3://bucket/policies") / "large").read_bytes() == (tmp_path / "out" / "large").read_bytes()


@pytest.mark.slow
def test_memory_does_not_grow_with_the_size_of_a_file(s3, store):
    program = f"""
import resource, sys
from reward_finetuning.storage import Identity, cache, open_store

def write(folder):
    with (folder / "large").open("wb") as file:
        for _ in range(int(sys.argv[1])):
            file.write(bytes({MEBI}))
    return {{}}

store = open_store("{store.uri}")
store.create_json("x.json", {{}})
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
manifest = store.commit("a", Identity(kind="policy", fingerprint="f", epoch=2), write)
cache.drop(manifest.checksum)
store.fetch("a")
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""

    grown = subprocess.run([sys.executable, "-c", program, "160"], capture_output=True, text=True, check=True).stdout

    assert int(grown) < 100  # MiB; the file has 160
