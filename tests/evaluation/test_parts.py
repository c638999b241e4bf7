"""The pretrained model beside a run that starts from another policy."""

import numpy as np
import pytest

from reward_finetuning.evaluation.parts import draw_floor, draw_parts, join, parts_of
from reward_finetuning.evaluation.subjects import Subject
from reward_finetuning.records import PRETRAINED
from reward_finetuning.rewards.scorer import load_scorers
from reward_finetuning.steps.next_epochs import begin
from reward_finetuning.storage import Reference, RunDirectory

GUARDED = {
    "reward": {"weights": {"shapes": 1.0, "colourfulness": 0.0}},
    "promotion": {"guard_margins": {"colourfulness": 0.1}},
    "tracking": {"enabled": False},
}


@pytest.fixture
def warm_started(nudged_run, run_config):
    """A run that starts from epoch 1 of another one."""
    other = nudged_run({1: 0.1}, **GUARDED)
    start = {"run_directory": other.uri, "epoch": 1, "reference": "pretrained"}
    run = RunDirectory(run_config(name="next", warm_start=start, **GUARDED))
    begin(run)
    return run


def test_the_floor_of_a_warm_started_run_is_the_pretrained_model_and_not_epoch_0(warm_started, run_config, monkeypatch):
    # A run that starts from a champion has fresh noise. Here the policies alone differ.
    monkeypatch.setattr("reward_finetuning.evaluation.parts.noise_of", lambda run: 0)
    ordinary = RunDirectory(run_config(name="ordinary", **GUARDED))
    begin(ordinary)

    samples = [
        drawn(run, subject) for run, subject in ((warm_started, Subject.floor_of(warm_started)), epoch_0(ordinary))
    ]
    start = drawn(*epoch_0(warm_started))

    floor, pretrained = samples
    assert floor.policy == pretrained.policy == PRETRAINED
    assert np.array_equal(floor.rewards["colourfulness"], pretrained.rewards["colourfulness"])
    assert not np.array_equal(floor.rewards["colourfulness"], start.rewards["colourfulness"])
    assert "shapes" not in floor.rewards  # it is the combined reward


def test_the_floor_is_drawn_once_and_only_where_it_is_needed(warm_started, run_config):
    config = warm_started.config
    draw_floor(warm_started, lambda: load_scorers(config.reward))

    draw_floor(warm_started, unexpected)
    ordinary = RunDirectory(run_config(name="ordinary", **GUARDED))
    unguarded = RunDirectory(
        config.model_copy(update={"promotion": config.promotion.model_copy(update={"guard_margins": {}})})
    )

    assert Subject.floor_of(ordinary) is None
    assert Subject.floor_of(unguarded) is None


def unexpected():
    raise AssertionError("what is drawn already is not scored again")


def epoch_0(run):
    return run, Subject.of_run(run, Reference(epoch=0))


def drawn(run, subject):
    draw_parts(run, subject, parts_of(run, subject), subject.load, lambda: load_scorers(run.config.reward))
    return join(run, subject)
