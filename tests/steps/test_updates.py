"""The updates of an epoch: overflow in float16, and the weights that a stage of PPOD keeps."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from reward_finetuning.config import TrainingError
from reward_finetuning.config.sections.training import TrainingConfig
from reward_finetuning.objectives import build_objective, one_pass
from reward_finetuning.objectives.ddpo import Ddpo
from reward_finetuning.objectives.one_pass import backpropagate_once
from reward_finetuning.objectives.ppod import Ppod
from reward_finetuning.objectives.prdp import Prdp
from reward_finetuning.objectives.two_pass import replay
from reward_finetuning.policy.load import Policy
from reward_finetuning.policy.restore import WEIGHTS
from reward_finetuning.policy.save import load_tensors
from reward_finetuning.records import Rewards
from reward_finetuning.steps import train_epoch
from reward_finetuning.storage import read_reference
from reward_finetuning.storage.artifacts.rewards import read_rewards
from reward_finetuning.storage.artifacts.rollouts import read_rollouts, read_samples
from reward_finetuning.training import engine, update
from reward_finetuning.training.learner import learner_at

pytestmark = pytest.mark.slow

NOISY = {"channels_last": False}
"""With channels last, log-probs of the built-in model did not differ by a bit between batches of two sizes."""

HALF = {"dtype": "float16", "trainable": "lora", "lora": {"rank": 2, "alpha": 2.0}}


def test_an_overflow_in_float16_lowers_the_loss_scale_and_repeats_the_update(tasks, monkeypatch):
    half = tasks(name="half", model=HALF, objective={"clip_range": 1.0})
    expected = half.epoch(half.begin())
    scale = update.loss_scale
    monkeypatch.setattr(update, "loss_scale", lambda *arguments: 2.0**20 * scale(*arguments))

    again = tasks(name="overflow", model=HALF, objective={"clip_range": 1.0})
    after = again.epoch(again.begin())

    found, wanted = (load_tensors(one.run.open(at)[0] / WEIGHTS) for one, at in ((again, after), (half, expected)))
    assert after.facts["metrics"]["train/updates"] == 1
    moves = torch.cat([(found[name] - weight).flatten() for name, weight in wanted.items()])
    # AdamW's first step is by the gradient's sign. The loss scale changes that where float16 rounds to about 0.
    assert (moves.abs() > 1e-5).double().mean() < 0.01


def test_an_overflow_that_no_loss_scale_heals_is_an_error_with_what_would_help(tasks, monkeypatch):
    half = tasks(name="half", model=HALF, objective={"clip_range": 1.0})
    monkeypatch.setattr(update, "loss_scale", lambda *arguments: float("inf"))

    with pytest.raises(TrainingError, match=r"overflow float16 even at .* use model.dtype: bfloat16 or float32"):
        half.epoch(half.begin())


def test_stored_log_probs_that_are_too_far_from_the_evaluated_ones_stop_training_before_the_first_step(
    tasks, monkeypatch
):
    one = tasks(model=NOISY, objective={"clip_range": 1e-9})
    taken = []
    monkeypatch.setattr(engine.Engine, "step", lambda *arguments: taken.append(arguments))

    with pytest.raises(TrainingError, match=r"replayed log-probs differ from the stored ones by up to .* nats"):
        one.epoch(one.begin())

    assert taken == []
    assert one.run.latest().epoch == 0


def test_the_noise_of_log_probs_costs_no_pass_of_its_own(tasks, monkeypatch):
    passes = counted(monkeypatch, "replay")
    one = tasks(model=NOISY)

    metrics = one.epoch(one.begin()).facts["metrics"]

    assert 0 < metrics["train/log_prob_gap_max"] < 1e-5
    assert len(passes) == 1  # the check of the policy after the update


def test_a_setting_of_earlier_versions_is_ignored_and_their_runs_go_on(tasks):
    assert TrainingConfig.model_validate({"gate_cells": 64}) == TrainingConfig()
    one = tasks()
    plan = one.begin()
    path = Path(one.run.uri) / "run.json"
    described = json.loads(path.read_text())
    described["fingerprint"]["training.gate_cells"] = 6
    path.write_text(json.dumps(described))

    one.epoch(plan)

    assert one.run.latest().epoch == 1


@pytest.mark.parametrize(
    ("method", "objective", "cells_per_batch", "learning_rate"),
    [
        (Ddpo, {"name": "ddpo", "clip_range": 1e-3}, 5, 1e-4),
        (Prdp, {"name": "prdp", "clip_range": 1e-3, "kl_weight": 0.1}, 9, 1e-6),
        (Ppod, {"name": "ppod", "clip_range": 3e-3, "kl_weight": 30.0, "convergence": None}, 9, 1e-6),
    ],
    ids=["ddpo", "prdp", "ppod"],
)
def test_one_pass_trains_as_two_passes_do_and_measures_the_same(
    tasks, monkeypatch, method, objective, cells_per_batch, learning_rate
):
    training = {
        "updates_per_epoch": 3,
        "cells_per_batch": cells_per_batch,
        "learning_rate": learning_rate,
    }
    separable = tasks(name="one", objective=objective, training=training)
    calls = counted(monkeypatch, "backpropagate_once")
    after = separable.epoch(separable.begin())
    assert len(calls) == 2  # the first update's log-probs are known
    monkeypatch.setattr(method, "separable_by", None)
    twice = tasks(name="two", objective=objective, training=training)

    expected = twice.epoch(twice.begin())

    metrics, wanted = after.facts["metrics"], expected.facts["metrics"]
    assert wanted["train/clip_fraction"] > 0
    for name in ("train/loss", "train/clip_fraction", "train/grad_norm", "doctor/log_prob_move"):
        assert metrics[name] == pytest.approx(wanted[name], rel=1e-2), name
    assert len(calls) == 2


@pytest.mark.parametrize(
    ("objective", "compiled"),
    [
        ({"name": "ddpo"}, False),
        ({"name": "ddpo"}, True),
        ({"name": "ppod", "clip_range": 3e-4, "kl_weight": 30.0, "convergence": None}, True),
        ({"name": "dpok", "kl_weight": 0.1}, False),
    ],
    ids=["ddpo", "ddpo-compiled", "ppod-compiled", "dpok"],
)
def test_cells_that_the_clip_has_stopped_are_evaluated_without_gradient_in_the_next_update(
    tasks, monkeypatch, objective, compiled
):
    one = tasks(
        objective={"clip_range": 1e-4, **objective},
        training={
            "updates_per_epoch": 3,
            "cells_per_batch": 9,
            "learning_rate": 1e-6 if objective["name"] == "ppod" else 1e-3,
        },
    )
    monkeypatch.setattr(Policy, "is_compiled", compiled)
    monkeypatch.setattr(one_pass, "LEAST_STOPPED", 0.0)
    passes = []

    def recorded(objective, networks, source, batch, order, *arguments):
        log_probs = backpropagate_once(objective, networks, source, batch, order, *arguments)
        g = objective.coefficients(log_probs, batch).view(-1)
        passes.append((order[arguments[-1][order]], order[g[order] == 0]))
        return log_probs

    monkeypatch.setattr(update, "backpropagate_once", recorded)

    one.epoch(one.begin())

    (first, stopped), (second, _) = passes
    assert len(first) == 0
    assert len(stopped) > 0
    if objective["name"] != "ddpo":  # each cell of DPOK has a KL; parts of prompts would be batches of many sizes
        assert len(second) == 0
    elif compiled:  # batches have one size, for which kernels are compiled
        assert (18 - len(second)) % 9 == 0
        assert set(second.tolist()) <= set(stopped.tolist())
    else:
        assert sorted(second.tolist()) == sorted(stopped.tolist())


def test_a_few_stopped_cells_are_not_evaluated_apart(tasks, monkeypatch):
    sizes = []

    def recorded(*arguments):
        sizes.append(int(arguments[-1].sum()))
        return backpropagate_once(*arguments)

    monkeypatch.setattr(update, "backpropagate_once", recorded)
    for least in (0.0, 2.0):
        monkeypatch.setattr(one_pass, "LEAST_STOPPED", least)
        one = tasks(
            name=f"least-{least:g}",
            objective={"name": "ddpo", "clip_range": 1e-4},
            training={"updates_per_epoch": 3, "learning_rate": 1e-3},
        )
        one.epoch(one.begin())

    assert sizes[1] > 0
    assert sizes[3] == 0


@pytest.mark.parametrize("name", ["ddpo", "prdp"])
def test_an_update_is_the_same_when_cells_are_wrongly_expected_to_be_stopped(tasks, monkeypatch, name):
    def gradient_norm(expected):
        monkeypatch.setattr(update, "probably_stopped", expected)
        one = tasks(
            name=f"{name}-{expected.__name__}",
            objective={"name": name, "clip_range": 1e-3},
            training={"updates_per_epoch": 3, "cells_per_batch": 9, "learning_rate": 1e-6},
        )
        return one.epoch(one.begin()).facts["metrics"]["train/grad_norm"]

    def none(objective, stopped, *rest, **options):
        return torch.zeros_like(stopped)

    def every_other(objective, stopped, *rest, **options):
        return torch.arange(len(stopped)) % 2 == 0

    assert gradient_norm(every_other) == pytest.approx(gradient_norm(none), rel=1e-3)


def counted(monkeypatch, name):
    """A list that grows with every call of a function of the updates."""
    calls, function = [], getattr(update, name)
    monkeypatch.setattr(update, name, lambda *arguments: calls.append(name) or function(*arguments))
    return calls


def test_a_ppod_stage_keeps_the_weights_of_the_best_look(tasks):
    # At this learning rate accuracy on held-out pairs goes up and down: the last look is not the best one.
    convergence = {"check_every": 1, "patience": 4, "heldout_share": 0.4}
    one = tasks(
        sampling={"images_per_prompt": 8, "micro_batch_size": 8},
        objective={"name": "ppod", "kl_weight": 100.0, "clip_range": 1.0, "convergence": convergence},
        training={"updates_per_epoch": 12, "learning_rate": 2e-4},
        loop={"epochs": 1},
    )

    metrics = one.epoch(one.begin()).facts["metrics"]

    assert metrics["train/kept_updates"] < metrics["train/updates"]
    learner = learner_at(one.run, one.run.latest(), keep_reference=False)
    assert heldout_accuracy(learner, one) == metrics["train/heldout_accuracy"]


def heldout_accuracy(learner, one):
    """Of the committed weights, on the pairs that the stage held out."""
    folders = [one.run.open(read_reference(path))[0] for path in one.drawn]
    rollouts = read_rollouts(
        [file for folder in folders for file in sorted(folder.glob("trajectories-*"))],
        [sample for folder in folders for sample in read_samples(folder)],
    )
    rewards = np.concatenate([read_rewards(one.run.open(read_reference(path))[0])[1].combined for path in one.scored])
    batch = train_epoch._batch(rollouts, Rewards({}, rewards))
    source = learner.cells(rollouts, batch)
    ppod = build_objective(one.run.config.objective)
    ppod.begin_epoch(batch, source, np.random.default_rng(0))
    cells = source.of_images(ppod.heldout_rows(0, is_last=False), torch.arange(batch.log_probs_old.numel()))
    ppod.look(replay(learner.policy.denoiser(), source, cells, 8, lambda _: None), batch)
    return float(ppod.state_dict()["accuracies"][0])
