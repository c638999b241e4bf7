from hashlib import sha256

import pytest

from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.artifacts import scores
from reward_finetuning.storage.artifacts.scores import ScoreCache


def key(text):
    return sha256(text.encode()).digest()


@pytest.fixture
def run(run_config):
    made = RunDirectory(run_config())
    made.begin({}, {})
    return made


@pytest.fixture
def clock(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(scores.time, "monotonic", lambda: now[0])
    return now


def test_scores_come_back_bit_for_bit(run):
    with ScoreCache(run, 3, "scores-a-") as cache:
        cache.add([(key("x"), 0.1 + 0.2), (key("y"), -1e-300)])

    again = ScoreCache(run, 3, "scores-a-")

    assert (again.get(key("x")), again.get(key("y")), again.get(key("z"))) == (0.1 + 0.2, -1e-300, None)


def test_pieces_of_work_and_epochs_do_not_see_each_other(run):
    with ScoreCache(run, 3, "scores-a-") as cache:
        cache.add([(key("x"), 1.0)])

    assert ScoreCache(run, 3, "scores-b-").get(key("x")) is None
    assert ScoreCache(run, 4, "scores-a-").get(key("x")) is None


def test_a_killed_process_loses_30_seconds_of_scoring(run, clock):
    cache = ScoreCache(run, 1, "scores-a-")
    for second in range(100):
        clock[0] += 1.0
        cache.add([(key(f"{second}"), float(second))])

    after_the_kill = ScoreCache(run, 1, "scores-a-")

    assert [second for second in range(100) if after_the_kill.get(key(f"{second}")) is None] == list(range(90, 100))


def test_a_long_piece_of_work_makes_few_files_and_loses_a_twentieth_of_it(run, clock):
    cache = ScoreCache(run, 1, "scores-a-")
    for step in range(2_000):
        clock[0] += 10.0
        cache.add([(key(f"{step}"), 0.0)])

    after_the_kill = ScoreCache(run, 1, "scores-a-")

    assert sum(after_the_kill.get(key(f"{step}")) is not None for step in range(2_000)) >= 0.95 * 2_000
    assert len(run.store.names("epochs/0001")) < 100


def test_two_attempts_of_the_same_work_leave_one_file(run):
    twins = [ScoreCache(run, 1, "scores-a-") for _ in range(2)]
    for value, twin in enumerate(twins):
        with twin:
            twin.add([(key("x"), float(value))])

    assert len(run.store.names("epochs/0001")) == 1
    assert ScoreCache(run, 1, "scores-a-").get(key("x")) == 0.0


def test_forgetting_leaves_what_others_wrote(run):
    for prefix in ("scores-a-", "scores-b-"):
        with ScoreCache(run, 1, prefix) as cache:
            cache.add([(key("x"), 1.0)])

    ScoreCache(run, 1, "scores-a-").forget()

    assert [name.startswith("scores-b-") for name in run.store.names("epochs/0001")] == [True]
