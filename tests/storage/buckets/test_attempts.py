"""What is killed, and what happens at once: one artifact or none. R numbers are those of docs/storage.md."""

import random
import threading

import pytest
from servers.faults import Fault

from reward_finetuning.config import RetryableError
from reward_finetuning.storage import Identity, cache, open_store
from reward_finetuning.storage.manifest import MANIFEST

IDENTITY = Identity(kind="policy", fingerprint="f", epoch=3, policy="p")

pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture
def store(bucket):
    return open_store(f"{bucket.uri}/runs/tiny")


def files(**contents):
    def write(folder):
        for name, content in contents.items():
            (folder / name).write_bytes(content)
        return {}

    return write


@pytest.mark.slow
def test_r4_an_attempt_that_was_killed_before_its_manifest_is_done_again_and_cleared_away(bucket, store, patience):
    patience(total_seconds=1.5)
    bucket.faults.append(Fault(503, "upload", MANIFEST, times=10**6))
    with pytest.raises(RetryableError):  # all files are there, the manifest is not: as a killed process leaves it
        store.commit("epochs/0001/policy", IDENTITY, files(one=b"1"))
    assert len(bucket.names()) == 1
    assert store.names("epochs/0001") == []
    bucket.faults.clear()

    store.commit("epochs/0001/policy", IDENTITY, files(one=b"2"))

    assert (store.fetch("epochs/0001/policy") / "one").read_bytes() == b"2"
    assert len(bucket.names()) == 2


@pytest.mark.slow
def test_r4_a_manifest_whose_answer_was_lost_for_good_is_adopted_by_the_next_attempt(bucket, store, patience):
    patience(total_seconds=1.5)
    bucket.faults += [Fault("lost", "upload", MANIFEST), Fault(503, "", MANIFEST, times=10**6)]
    bucket.faults[1].after = 1  # the first read, which finds nothing
    with pytest.raises(RetryableError):
        store.commit("a", IDENTITY, files(one=b"1"))
    bucket.faults.clear()

    store.commit("a", IDENTITY, lambda folder: pytest.fail("was made again"))

    assert (store.fetch("a") / "one").read_bytes() == b"1"


def attempts(store, seed):
    """Three attempts at once, with other content each; what every one of them was given."""
    given = []

    def attempt(number):
        content = {name: random.Random(f"{seed}{number}{name}").randbytes(20_000) for name in ("one", "two")}
        manifest = store.commit("a", IDENTITY, files(**content))
        given.append((manifest, content))

    threads = [threading.Thread(target=attempt, args=(number,)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return given


# With these seeds every kind of fault happens to uploads, to reads and to metadata; 2 is without a fault.
@pytest.mark.slow
@pytest.mark.parametrize("seed", [2, 6, 11, 12, 20, 24, 26])
def test_r15_of_attempts_at_once_under_random_faults_one_wins_and_all_return_it(bucket, store, seed):
    chance = random.Random(seed)
    bucket.faults += [
        Fault(
            chance.choice([503, 429, 500, "reset", "lost"]),
            chance.choice(["upload", "read", "metadata"]),
            times=chance.randrange(1, 3),
            after=chance.randrange(5),
        )
        for _ in range(chance.randrange(6))
    ]

    given = attempts(store, seed)

    assert len(given) == 3
    assert len({manifest.checksum for manifest, _ in given}) == 1
    bucket.faults.clear()
    cache.drop(given[0][0].checksum)
    folder = store.fetch("a")
    winners = [
        content for _, content in given if all((folder / name).read_bytes() == content[name] for name in content)
    ]
    assert len(winners) == 1
    assert store.names("") == ["a"]


@pytest.mark.slow
def test_a_deletion_that_was_cut_off_can_be_seen_and_repeated(bucket, store, patience):
    patience(total_seconds=1.5)
    store.commit("epochs/0001/rollouts", IDENTITY, files(one=b"1", two=b"2"))
    bucket.faults.append(Fault(503, "delete", "/two$", times=10**6))
    with pytest.raises(RetryableError):
        store.delete("epochs/0001/rollouts")
    bucket.faults.clear()
    assert store.manifest("epochs/0001/rollouts") is None
    assert store.names("epochs/0001") == ["rollouts"]

    store.delete("epochs/0001/rollouts")

    assert bucket.names() == []
