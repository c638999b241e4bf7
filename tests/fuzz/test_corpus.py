"""Inputs that were a defect once, and a valid one for each parser."""

from pathlib import Path

import pytest
from fuzz.all_targets import TARGETS
from fuzz.targets import CORPUS, SlowError, Target

INPUTS = [(target, path) for target in TARGETS.values() for path in target.corpus()]


@pytest.mark.parametrize(("target", "path"), INPUTS, ids=[f"{t.name}-{p.name}" for t, p in INPUTS])
def test_an_input_that_was_a_defect_is_read_or_refused_with_an_error_of_ours(target: Target, path: Path):
    target.run(path.read_bytes())


@pytest.mark.parametrize("target", TARGETS.values(), ids=TARGETS)
def test_the_seeds_of_a_target_are_valid(target):
    for seed in target.seeds:
        target.parse(seed)


def test_every_folder_of_the_corpus_belongs_to_a_target():
    assert {path.name for path in CORPUS.iterdir()} <= TARGETS.keys()


def test_an_error_that_is_not_ours_is_a_defect():
    target = Target("t", lambda data: {}[data], (b"",), "text")

    with pytest.raises(KeyError):
        target.run(b"x")


def test_an_input_that_takes_too_long_is_a_defect(monkeypatch):
    monkeypatch.setattr("fuzz.targets.MOST_SECONDS", -1.0)

    with pytest.raises(SlowError):
        Target("t", len, (b"",), "text").run(b"x")
