import errno
import json
from pathlib import Path

import pytest
import torch
from safetensors import SafetensorError

from reward_finetuning.config import RetryableError, TrainingError, UserError
from reward_finetuning.failures import FAILURE_FILE, classify, failure_in, leave_failure, reserve_record


def full_disk():
    """The error of a write to a device that is always full."""
    with pytest.raises(OSError, match="No space left") as raised, open("/dev/full", "wb", buffering=0) as file:
        file.write(b"x")
    return raised.value


FULL = {
    "a file": full_disk,
    "a quota": lambda: OSError(errno.EDQUOT, "Disk quota exceeded"),
    "safetensors": lambda: SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
}


@pytest.mark.parametrize("what", FULL)
def test_a_full_disk_is_worth_a_retry_and_says_so(what):
    failure = classify(FULL[what]())

    assert type(failure) is RetryableError
    assert "the disk is full" in str(failure)
    assert "free some space" in str(failure)


def test_too_little_memory_of_the_gpu_names_the_settings_to_lower():
    failure = classify(torch.OutOfMemoryError("CUDA out of memory.\nTried to allocate 2.00 GiB"))

    assert type(failure) is UserError
    assert "lower training.cells_per_batch" in str(failure)


@pytest.mark.parametrize("error", [UserError("a"), TrainingError("b"), RetryableError("c"), KeyError("d"), OSError(5)])
def test_every_other_error_stays_what_it_is(error):
    assert classify(error) is error


def test_a_record_is_written_into_the_room_that_was_reserved_for_it(tmp_path, monkeypatch):
    path = tmp_path / "failure.json"
    monkeypatch.setenv(FAILURE_FILE, str(path))
    reserve_record(path)
    size, inode = path.stat().st_size, path.stat().st_ino

    nothing = failure_in(path.read_text())
    leave_failure(KeyError("a longer text than the next one"))
    leave_failure(RetryableError("full"))

    assert nothing is None
    assert (path.stat().st_size, path.stat().st_ino) == (size, inode)
    assert type(failure_in(path.read_text())) is RetryableError
    assert json.loads(path.read_text())["message"] == "full"


def test_a_record_of_the_longest_message_fits(tmp_path, monkeypatch):
    path = tmp_path / "failure.json"
    monkeypatch.setenv(FAILURE_FILE, str(path))
    reserve_record(path)
    size = path.stat().st_size

    leave_failure(UserError("ä" * 100_000))

    assert Path(path).stat().st_size == max(size, len(path.read_bytes().rstrip()))
    assert str(failure_in(path.read_text())).startswith("ää")
