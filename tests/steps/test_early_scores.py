"""Served scorers work while the next images are drawn: nothing is asked twice, and nothing drawn is lost."""

import threading
from contextlib import contextmanager

import numpy as np
import pytest

from reward_finetuning.config import RetryableError
from reward_finetuning.rewards.remote.server import ScoringServer, Served
from reward_finetuning.steps import draw as draw_step
from reward_finetuning.steps import early_scores, sample
from reward_finetuning.steps.draw import draw
from reward_finetuning.steps.early_scores import early_names
from reward_finetuning.steps.run_epochs import run_epochs
from reward_finetuning.storage import read_reference
from reward_finetuning.storage.artifacts.rewards import read_rewards

pytestmark = pytest.mark.slow

LONG = 60.0
NUM_IMAGES = 6


class FarScorer:
    """Mean brightness, as a server computes it: what it was asked, and an event that it waits for."""

    def __init__(self):
        self.sizes, self.asked, self.may_answer = [], threading.Event(), threading.Event()
        self.may_answer.set()

    def __call__(self, images, prompts):
        self.sizes.append(len(prompts))
        self.asked.set()
        assert self.may_answer.wait(LONG)
        return images.mean(axis=(1, 2, 3)) / 255

    def usage(self):
        return {"images": float(sum(self.sizes))}


@pytest.fixture
def far():
    return FarScorer()


@contextmanager
def running(scorer):
    server = ScoringServer("127.0.0.1", 0, Served("far", "d", scorer))
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        server.server_close()


@pytest.fixture
def url(far):
    with running(far) as address:
        yield address


@pytest.fixture
def begun(tasks, url):
    """A begun run whose six images are three micro-batches, scored here and there."""

    def make(name="early"):
        one = tasks(
            name=name,
            sampling={"images_per_prompt": 3, "micro_batch_size": 2},
            reward={"weights": {"shapes": 1.0, "far": 1.0}, "scorers": {"far": {"url": url, "retries": 0}}},
        )
        one.plan = one.begin()
        return one

    return make


def drawn(one):
    """The rewards of the first epoch, and the facts of their artifact."""
    draw(one.config, "1", "0", one.path("rewards"))
    reference = read_reference(one.path("rewards"))
    return read_rewards(one.run.open(reference)[0])[1], reference.facts


def drawn_and_then_scored(one):
    """The rewards that `sample` and then `reward` give."""
    one.rollouts(one.plan)
    return read_rewards(one.run.open(read_reference(one.scored[0]))[0])[1]


def when_drawing(monkeypatch, number, then):
    """Call `then` before micro-batch `number` is drawn."""
    count, function = [], sample.draw_micro_batch

    def watched(*arguments, **options):
        count.append(1)
        if len(count) == number:
            then()
        return function(*arguments, **options)

    monkeypatch.setattr(sample, "draw_micro_batch", watched)


def test_a_served_scorer_is_asked_while_images_are_drawn_and_once_for_each(begun, far, monkeypatch):
    one = begun()
    early = []
    when_drawing(monkeypatch, 3, lambda: early.append(far.asked.wait(LONG)))

    rewards, _ = drawn(one)

    assert early == [True]
    assert sum(far.sizes) == NUM_IMAGES
    expected = drawn_and_then_scored(begun("apart"))
    assert sum(far.sizes) == 2 * NUM_IMAGES
    assert list(rewards.scores) == list(expected.scores)  # the order in which weighted scores are added
    for name, scores in expected.scores.items():
        np.testing.assert_array_equal(rewards.scores[name], scores)
    assert np.ptp(rewards.scores["far"]) > 0


def test_the_fused_loop_scores_early_too(begun, far, monkeypatch):
    one = begun()
    add, sizes = early_scores.EarlyScores.add, []

    def waiting(self, images, samples):
        far.asked.clear()
        add(self, images, samples)
        assert far.asked.wait(LONG)
        sizes.append(len(samples))

    monkeypatch.setattr(early_scores.EarlyScores, "add", waiting)

    run_epochs(one.config, one.plan, one.path("policy"), one.path("report"))

    assert sizes == [2, 2, 2] * one.run.config.loop.epochs


def test_pictures_that_find_no_place_are_scored_after_the_drawing(begun, far, monkeypatch):
    monkeypatch.setattr(early_scores, "MOST_WAITING", 1)
    one = begun()
    far.may_answer.clear()
    written = sample.write_samples
    monkeypatch.setattr(sample, "write_samples", lambda *rest: (far.may_answer.set(), written(*rest)))

    rewards, _ = drawn(one)

    assert sum(far.sizes) == NUM_IMAGES
    assert len(rewards.scores["far"]) == NUM_IMAGES


def test_a_scorer_that_fails_while_images_are_drawn_loses_no_image(begun, far, monkeypatch, capsys):
    one = begun()
    answers = iter([RetryableError("down for maintenance")])

    class Failing(FarScorer):
        def __call__(self, images, prompts):
            for error in answers:
                raise error
            return super().__call__(images, prompts)

    failing = Failing()
    load = draw_step.load_scorers
    monkeypatch.setattr(
        draw_step, "load_scorers", lambda reward, names: {"far": failing} if "far" in names else load(reward, names)
    )

    rewards, _ = drawn(one)

    assert "warning: no more images are scored while others are drawn: down for maintenance" in capsys.readouterr().out
    assert sum(failing.sizes) == NUM_IMAGES
    assert len(rewards.scores["far"]) == NUM_IMAGES


def test_what_a_scorer_used_early_is_counted(begun, far, monkeypatch):
    one = begun()
    load = draw_step.load_scorers
    monkeypatch.setattr(
        draw_step, "load_scorers", lambda reward, names: {"far": far} if "far" in names else load(reward, names)
    )
    when_drawing(monkeypatch, 3, lambda: far.asked.wait(LONG))

    _, facts = drawn(one)

    assert facts["usage"] == {"far/images": NUM_IMAGES}


@pytest.mark.parametrize(
    ("sampling", "groupwise", "names"),
    [
        ({"images_per_prompt": 3, "micro_batch_size": 2}, False, {"far"}),
        ({"images_per_prompt": 3, "micro_batch_size": 3}, True, {"far"}),
        ({"images_per_prompt": 3, "micro_batch_size": 2}, True, set()),
    ],
)
def test_scorers_on_other_machines_work_early_if_they_get_what_they_need(run_config, sampling, groupwise, names):
    settings = {"url": "http://far:80", "groupwise": groupwise}
    config = run_config(
        sampling=sampling, reward={"weights": {"shapes": 1.0, "far": 1.0}, "scorers": {"far": settings}}
    )

    assert early_names(config) == names
