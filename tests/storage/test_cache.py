"""The folder in which files from buckets lie."""

import os
import subprocess
import sys
import time

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.storage import Identity, cache, open_store

IDENTITY = Identity(kind="policy", fingerprint="f", epoch=3)


@pytest.fixture
def store(bucket):
    return open_store(f"{bucket.uri}/runs/tiny")


def reads(bucket):
    """Data files that were downloaded."""
    return [r.name.rsplit("/", 1)[1] for r in bucket.requests if r.kind == "read" and "/." in r.name]


def write(*names, size=1):
    def fill(folder):
        for name in names:
            (folder / name).write_bytes(name.encode() * size)
        return {}

    return fill


def test_who_made_an_artifact_does_not_download_it(bucket, store):
    store.commit("a", IDENTITY, write("one"))

    assert (store.fetch("a") / "one").read_bytes() == b"one"
    assert reads(bucket) == []


def test_only_the_files_asked_for_are_downloaded_and_each_once(bucket, store):
    cache.drop(store.commit("a", IDENTITY, write("one", "two", "three")).checksum)

    folder = store.fetch("a", ["one"])
    assert [path.name for path in folder.iterdir()] == ["one"]
    assert store.fetch("a", ["two"]) == folder
    store.fetch("a")

    assert reads(bucket) == ["one", "two", "three"]


def test_checking_an_artifact_downloads_nothing(bucket, store):
    cache.drop(store.commit("a", IDENTITY, write("one")).checksum)

    store.check("a")

    assert reads(bucket) == []


def test_a_file_that_was_damaged_in_the_cache_is_downloaded_again(bucket, store):
    folder = cache.artifact_folder(store.commit("a", IDENTITY, write("one")).checksum)
    (folder / "one").write_bytes(b"eno")

    assert (store.fetch("a") / "one").read_bytes() == b"one"
    assert reads(bucket) == ["one"]


def test_what_is_deleted_leaves_the_cache(bucket, store, tmp_path):
    store.commit("a", IDENTITY, write("one"))

    store.delete("a")

    assert not list((tmp_path / "cache").rglob("one"))


@pytest.mark.slow
def test_two_processes_that_fetch_at_once_both_get_whole_files(bucket, store):
    cache.drop(store.commit("a", IDENTITY, write("one", "two", size=300_000)).checksum)
    program = """
import sys
from reward_finetuning.storage import open_store
folder = open_store(sys.argv[1]).fetch("a")
print({name: (folder / name).read_bytes() == name.encode() * 300_000 for name in ("one", "two")})
"""

    processes = [
        subprocess.Popen([sys.executable, "-c", program, store.uri], stdout=subprocess.PIPE, env=os.environ, text=True)
        for _ in range(2)
    ]

    assert [process.communicate()[0].strip() for process in processes] == ["{'one': True, 'two': True}"] * 2


def test_the_least_recently_used_artifacts_go_when_it_grows_too_large(store, monkeypatch):
    monkeypatch.setenv("RFT_CACHE_GB", "0.0002")
    folders = {
        name: cache.artifact_folder(store.commit(name, IDENTITY, write(name, size=90_000)).checksum) for name in "abc"
    }
    hour = time.time() - 3600
    for age, name in enumerate("bac"):  # b was used longest ago
        os.utime(folders[name], (hour + age, hour + age))

    cache.trim()

    assert [name for name, folder in folders.items() if folder.exists()] == ["a", "c"]


def test_what_is_being_read_stays_however_full_it_is(store, monkeypatch):
    monkeypatch.setenv("RFT_CACHE_GB", "0")

    folder = cache.artifact_folder(store.commit("a", IDENTITY, write("one")).checksum)
    cache.trim()

    assert (folder / "one").exists()


def test_a_limit_that_is_no_number_is_named(store, monkeypatch):
    monkeypatch.setenv("RFT_CACHE_GB", "many")

    with pytest.raises(UserError, match="RFT_CACHE_GB='many' is no number of gigabytes"):
        cache.trim()


def test_without_a_setting_it_is_this_users_folder_for_temporary_files(monkeypatch, tmp_path):
    monkeypatch.delenv("RFT_CACHE", raising=False)
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))

    assert cache.root() == tmp_path / f"reward-finetuning-{os.getuid()}"
    assert cache.root().stat().st_mode & 0o077 == 0
