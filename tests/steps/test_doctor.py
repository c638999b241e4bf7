"""The doctor in real epochs: what is measured, that training does not notice, and which settings it warns of."""

from contextlib import contextmanager
from pathlib import Path

import pytest

from reward_finetuning.tracking import history
from reward_finetuning.training import update
from reward_finetuning.training.monitor import readings_of

MEASURES = {
    "reference_pull",
    "log_prob_move",
    "log_prob_move_first",
    "gradient_noise",
    "effective_step",
    "epsilon_share",
}


def measured(metrics):
    return {key.removeprefix("doctor/"): value for key, value in metrics.items() if key.startswith("doctor/")}


class NoProbe:
    """Measures nothing."""

    def __init__(self, *arguments):
        self.watches_gradient = False

    def after_update(self, log_probs, batch, *, on_policy):
        return

    @contextmanager
    def watched(self, cells, share, scale):
        yield lambda: None

    def after_step(self, grad_norm):
        return

    def metrics(self, batch, num_elements, *, on_policy):
        return {}


def test_an_epoch_logs_every_measure_and_ends_in_the_bits_of_one_without_the_doctor(tasks, monkeypatch):
    with_doctor = tasks(name="with", training={"updates_per_epoch": 2}, loop={"epochs": 1})
    after = with_doctor.epoch(with_doctor.begin()).facts
    monkeypatch.setattr(update, "Probe", NoProbe)

    without = tasks(name="without", training={"updates_per_epoch": 2}, loop={"epochs": 1})
    alone = without.epoch(without.begin()).facts

    found = measured(after["metrics"])
    assert (set(found), measured(alone["metrics"])) == (MEASURES, {})
    assert found["log_prob_move"] >= found["log_prob_move_first"] > 0
    assert found["reference_pull"] == 0  # the pretrained model drew the images
    assert after["weights_sha256"] == alone["weights_sha256"]


@pytest.mark.parametrize(
    ("objective", "expected"),
    [
        ({"name": "prdp", "clipping": False}, MEASURES - {"log_prob_move", "log_prob_move_first"}),
        ({"name": "ddpo", "min_count": 2}, MEASURES - {"reference_pull"}),
        ({"name": "dpok", "kl_weight": 0.1}, MEASURES),
        ({"name": "rwr"}, {"effective_step", "epsilon_share"}),
    ],
    ids=lambda value: value["name"] if isinstance(value, dict) else None,
)
def test_what_a_method_does_not_have_is_not_measured(tasks, objective, expected):
    one = tasks(objective=objective, loop={"epochs": 1})

    assert set(measured(one.epoch(one.begin()).facts["metrics"])) == expected


def test_advice_is_given_once_in_the_epoch_in_which_its_reason_begins(tasks, capsys):
    one = tasks(training={"cells_per_batch": 8, "learning_rate": 1e-1, "gate_cells": 6})
    plan = one.begin()

    one.epoch(plan, 0)
    one.epoch(plan, 1)

    log = capsys.readouterr().out
    assert log.count("move of the log-probs in an epoch is too high") == 1
    assert "warning: epoch 1: move of the log-probs" in log
    assert "clip ranges, limit 5): try training.learning_rate: 0.05" in log


PROMPTS = Path(__file__).parents[2] / "benchmarks" / "study" / "prompts" / "large.jsonl"
WORLD = {
    "model": {"source": "shapes", "trainable": "lora", "lora": {"rank": 8, "alpha": 4.0}},
    "reward": {"weights": {"shapes": 1.0}},
}
SAMPLING = {"num_steps": 5, "spacing": "quadratic", "guidance_scale": 1.0, "micro_batch_size": 64}


def trained(tasks, name, num_epochs, *, beta, updates, learning_rate, prompts, images):
    one = tasks(
        **WORLD,
        name=name,
        seed=7,
        prompts={"train": str(PROMPTS), "prompts_per_epoch": prompts},
        sampling={**SAMPLING, "images_per_prompt": images},
        objective={"name": "prdp", "kl_weight": beta, "clip_range": 1e-3},
        training={"updates_per_epoch": updates, "learning_rate": learning_rate, "cells_per_batch": 160},
        loop={"epochs": num_epochs},
    )
    plan = one.begin()
    for epoch in range(num_epochs):
        one.epoch(plan, epoch)
    return one.run


@pytest.mark.slow
def test_the_studys_first_settings_of_prdp_are_warned_of(tasks):
    run = trained(tasks, "old", 8, beta=20.0, updates=4, learning_rate=1e-2, prompts=32, images=2)

    pulls = dict(history(run)["doctor/reference_pull"])
    warned = {epoch: [r.label for r in readings_of(run, epoch) if r.advice] for epoch in pulls}
    assert any("pull of the reference" in labels for labels in warned.values()), pulls


@pytest.mark.slow
@pytest.mark.parametrize(("beta", "updates", "learning_rate"), [(0.3, 2, 6e-3), (1.0, 4, 1e-2)], ids=str)
def test_settings_that_learn_are_not_warned_of(tasks, beta, updates, learning_rate):
    run = trained(tasks, "new", 5, beta=beta, updates=updates, learning_rate=learning_rate, prompts=32, images=8)

    assert [reading.warning for epoch in range(1, 6) for reading in readings_of(run, epoch) if reading.advice] == []
