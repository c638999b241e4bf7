"""What attempts leave: memory near the limit of their container, and the bug that ended them."""

import errno

import pytest

from reward_finetuning.config import RetryableError, TrainingError, UserError
from reward_finetuning.steps.attempts.memory import Mark, Marks, Usage, Watch, usage
from reward_finetuning.storage import RunDirectory

GIB = 2**30


@pytest.fixture
def marks(run_config):
    return Marks(RunDirectory(run_config()).store, "attempts/run/train_epoch-0", "train")


def killed(marks, attempt, used):
    """An attempt that ends without a word."""
    watch = Watch(marks, attempt, lambda: Usage(used=int(used.pop(0) * GIB), limit=16 * GIB))
    marks.write(watch._mark)
    while used:
        watch.look()


def test_two_attempts_in_a_row_that_were_killed_near_the_limit_are_enough(marks, monkeypatch):
    monkeypatch.setenv("HOSTNAME", "pod-a")
    killed(marks, 1, [1, 9, 15.8])
    marks.check("train_epoch", 2)
    killed(marks, 2, [1, 15.9])

    with pytest.raises(UserError) as error:
        marks.check("train_epoch", 3)

    text = str(error.value)
    assert "attempt 1 (pod-a) used 15.8 GiB of 16.0 GiB, attempt 2 (pod-a) used 15.9 GiB of 16.0 GiB" in text
    assert "raise pools.train.memory" in text


@pytest.mark.parametrize("used", [[1, 8], [1, 14.3]])
def test_an_attempt_that_was_lost_far_from_the_limit_is_no_sign_of_memory(marks, used):
    killed(marks, 1, [1, 15.8])
    killed(marks, 2, used)

    marks.check("train_epoch", 3)


def test_attempts_that_ended_by_themselves_and_attempts_apart_do_not_count(marks):
    near = Usage(used=15 * GIB, limit=16 * GIB)
    with Watch(marks, 1, lambda: near):
        pass
    killed(marks, 2, [15])
    marks.check("train_epoch", 3)
    killed(marks, 4, [15])

    marks.check("train_epoch", 5)


def test_a_mark_is_closed_even_by_an_error(marks):
    with pytest.raises(RuntimeError), Watch(marks, 1, lambda: None):
        raise RuntimeError

    assert marks.read(1) == Mark(
        attempt=1, pod=marks.read(1).pod, peak=None, is_closed=True, bug="RuntimeError: RuntimeError"
    )


def failing(marks, attempt, error):
    with pytest.raises(type(error)), Watch(marks, attempt, lambda: None):
        raise error


def test_the_same_bug_twice_in_a_row_is_enough(marks):
    failing(marks, 1, ValueError("a shape that does not fit"))
    marks.check("train_epoch", 2)
    failing(marks, 2, ValueError("a shape that does not fit"))

    with pytest.raises(TrainingError, match=r"twice in a row with the same error: ValueError: a shape .* report it"):
        marks.check("train_epoch", 3)


@pytest.mark.parametrize("error", [ValueError("another"), RetryableError("a shape"), OSError(errno.ENOSPC, "a shape")])
def test_another_error_or_one_that_a_retry_may_heal_is_no_sign_of_a_bug(marks, error):
    failing(marks, 1, error)
    failing(marks, 2, error if not isinstance(error, ValueError) else ValueError("a shape"))

    marks.check("train_epoch", 3)


def test_the_peak_stays_when_the_use_falls(marks):
    killed(marks, 1, [1, 15, 2, 14])

    assert marks.read(1).peak.used == 15 * GIB


@pytest.mark.parametrize(
    ("files", "expected"),
    [
        ({"memory.max": "1000", "memory.stat": "anon 300\nfile 500\nshmem 20"}, Usage(used=320, limit=1000)),
        ({"memory.max": "max", "memory.stat": "anon 300"}, None),
        (
            {"memory/memory.limit_in_bytes": "1000", "memory/memory.stat": "cache 9\ntotal_rss 300\ntotal_shmem 20"},
            Usage(used=320, limit=1000),
        ),
        ({}, None),
    ],
)
def test_memory_is_read_from_both_versions_of_control_groups_without_the_page_cache(files, expected, tmp_path):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(text)

    assert usage(tmp_path) == expected
