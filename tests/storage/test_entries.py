"""Results that are kept in the local cache."""

import os
import time
from hashlib import sha256
from threading import Thread

import pytest

from reward_finetuning.storage.entries import Entries

KEY, OTHER = (sha256(name).hexdigest() for name in (b"a", b"b"))


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    monkeypatch.setenv("RFT_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache" / "entries"


def test_what_one_process_writes_another_reads():
    Entries().write(KEY, b"content")

    assert Entries().read(KEY) == b"content"
    assert Entries().read(OTHER) is None


@pytest.mark.parametrize(
    "damage",
    [
        lambda stored: stored[:-1],
        lambda stored: stored[:7],
        lambda stored: b"",
        lambda stored: stored[:-1] + b"T",
        lambda stored: bytes([stored[0] ^ 1]) + stored[1:],
    ],
)
def test_a_damaged_file_is_not_used_and_is_replaced(folder, capsys, damage):
    entries = Entries()
    entries.write(KEY, b"content")
    (folder / KEY).write_bytes(damage((folder / KEY).read_bytes()))

    assert entries.read(KEY) is None
    assert "is damaged and is not used" in capsys.readouterr().out
    entries.write(KEY, b"content")
    assert entries.read(KEY) == b"content"


def test_a_file_under_another_key_is_not_used(folder):
    Entries().write(KEY, b"content")
    (folder / KEY).rename(folder / OTHER)

    assert Entries().read(OTHER) is None


def test_processes_that_write_one_key_at_once_leave_a_whole_file():
    contents = [letter * 2_000_000 for letter in (b"a", b"b")]
    Entries().write(KEY, contents[0])
    writers = [Thread(target=lambda c=c: [Entries().write(KEY, c) for _ in range(10)]) for c in contents]
    for writer in writers:
        writer.start()

    read = [Entries().read(KEY) for _ in range(20)]

    for writer in writers:
        writer.join()
    assert all(content in contents for content in read)


def test_the_least_recently_used_are_deleted_beyond_the_limit(folder, monkeypatch):
    keys = [sha256(bytes([number])).hexdigest() for number in range(3)]
    for age, key in zip((3, 2, 1), keys, strict=True):
        Entries().write(key, bytes(1_000_000))
        os.utime(folder / key, (time.time() - 60 * age,) * 2)
    Entries().read(keys[0])
    monkeypatch.setenv("RFT_CACHE_GB", "0.0025")

    Entries().write(OTHER, b"small")  # the first write of a process trims

    assert {path.name for path in folder.iterdir()} == {keys[0], keys[2], OTHER}


def test_a_disk_that_cannot_be_written_is_reported_once(folder, capsys):
    folder.parent.mkdir()
    folder.write_text("a file in place of the folder")
    entries = Entries()

    entries.write(KEY, b"content")
    entries.write(OTHER, b"content")

    assert capsys.readouterr().out.count("nothing more is written to the cache") == 1
    assert entries.read(KEY) is None
