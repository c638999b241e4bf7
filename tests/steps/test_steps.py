"""What each step refuses, measures and keeps."""

import json
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from reward_finetuning.config import ArtifactError, TrainingError, UserError
from reward_finetuning.policy.restore import WEIGHTS
from reward_finetuning.policy.save import load_tensors
from reward_finetuning.steps.draw import draw
from reward_finetuning.steps.evaluate import evaluate
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.plan import Plan, is_evaluated
from reward_finetuning.steps.reward import reward
from reward_finetuning.steps.run_epochs import run_epochs
from reward_finetuning.steps.sample import sample
from reward_finetuning.steps.train_epoch import train_epoch, train_on
from reward_finetuning.storage import Reference, read_reference
from reward_finetuning.storage.artifacts.rollouts import SAMPLES, latents_file, read_rollouts, read_samples
from reward_finetuning.tracking import MemoryTracker, history
from reward_finetuning.training.learner import learner_at
from reward_finetuning.training.processes import joined

pytestmark = pytest.mark.slow


def test_rollouts_of_another_epoch_are_refused(tasks):
    one = tasks()
    drawn, scored = (list(map(read_reference, paths)) for paths in one.rollouts(one.begin()))
    after = one.train()
    learner = partial(learner_at, one.run, after, keep_reference=False)

    with (
        joined(one.run.config.model) as processes,
        pytest.raises(ArtifactError, match=r"is of epoch 1 by policy pretrained; expected epoch 2 by [0-9a-f]{12}"),
    ):
        train_on(one.run, after, drawn, scored, learner, processes, MemoryTracker())


def test_an_epoch_after_one_that_failed_is_not_begun(tasks, capsys):
    one = tasks(loop={"epochs": 5, "evaluate_every": 1})
    one.begin()

    draw(one.config, "3", "0", one.path("rewards"))
    trained = train_epoch(one.config, "3", one.path("next"))

    assert "epoch 3 is not begun: epoch 1 of this pipeline run failed" in capsys.readouterr().out
    assert read_reference(one.path("rewards")).skip
    assert read_reference(one.path("next")) == one.run.latest() == Reference(epoch=0)
    assert not trained.is_evaluated


def test_a_policy_says_where_it_lies_and_whether_it_is_evaluated(tasks):
    one = tasks(loop={"epochs": 2, "evaluate_every": 2})
    begun = next_epochs(one.config, one.path("policy"))
    said = []

    for epoch in begun.epochs:
        draw(begun.run, epoch, "0", one.path("rewards"))
        said.append(train_epoch(begun.run, epoch, one.path("next")))

    assert [each.address for each in said] == [f"{one.run.uri}/epochs/000{epoch}/policy" for epoch in (1, 2)]
    assert [each.is_evaluated for each in said] == [False, True]
    assert train_epoch(begun.run, "2", one.path("next")) == said[1]


@pytest.mark.parametrize(("shard", "epoch"), [("1", "1"), ("-1", "1"), ("x", "1"), ("0", "one")])
def test_a_shard_or_an_epoch_that_there_is_not_is_refused(tasks, shard, epoch):
    one = tasks()
    one.begin()

    with pytest.raises(UserError, match="must be a number"):
        sample(one.config, epoch, shard, one.path("rollouts"))


def test_a_missing_shard_is_refused(tasks):
    one = tasks(loop={"num_shards": 2, "granularity": "split"})
    one.begin()
    draw(one.config, "1", "1", one.path("rewards"))

    with pytest.raises(ArtifactError, match=r"rollouts-00000-00001 is absent: all shards are drawn and scored before"):
        one.train()


def test_a_flipped_bit_in_the_rollouts_stops_training_and_is_named(tasks):
    one = tasks()
    drawn, _ = one.rollouts(one.begin())
    folder, _ = one.run.open(read_reference(drawn[0]))
    path = folder / "trajectories-00000.safetensors"
    data = bytearray(path.read_bytes())
    data[-5] ^= 1
    path.write_bytes(data)

    with pytest.raises(ArtifactError, match=r"trajectories-00000.safetensors was altered: crc32c .*, expected"):
        one.train()
    assert one.run.latest().epoch == 0


def test_reward_reads_no_latents(tasks):
    one = tasks()
    one.begin()
    sample(one.config, "1", "0", one.path("rollouts"))
    folder, _ = one.run.open(read_reference(one.path("rollouts")))
    for path in folder.glob("trajectories-*"):
        path.unlink()

    facts = reward(one.config, one.path("rollouts"), one.path("rewards"))

    assert facts["num_images"] == 6


def test_rollouts_hold_what_the_legend_says(tasks):
    one = tasks()
    drawn, _ = one.rollouts(one.begin())
    folder, _ = one.run.open(read_reference(drawn[0]))

    rollouts = read_rollouts([folder / latents_file(number) for number in (0, 1)], read_samples(folder))

    assert rollouts.latents.shape == (6, 4, 4, 8, 8)
    assert rollouts.log_probs.shape == rollouts.log_probs_ref.shape == (6, 3)
    assert rollouts.latents[torch.tensor([5])].dtype == torch.float32
    assert [s.image_index for s in rollouts.samples] == [0, 1, 2, 0, 1, 2]
    assert (folder / SAMPLES).exists()


def test_float16_latents_pass_the_noise_gate_because_rounding_comes_first(tasks):
    one = tasks(sampling={"latents_dtype": "float16"})

    after = one.epoch(one.begin())

    assert after.facts["metrics"]["train/log_prob_gap_max"] < 1e-4


NOISY = {"channels_last": False}
"""With channels last, log-probs of the built-in model did not differ by a bit between batches of two sizes."""


def test_a_noise_floor_above_half_the_clip_range_stops_training(tasks):
    one = tasks(model=NOISY, objective={"clip_range": 1e-9})

    with pytest.raises(TrainingError, match=r"replayed log-probs differ .* clip_range is 1e-09 .*old_log_probs"):
        one.epoch(one.begin())
    assert one.run.latest().epoch == 0


def gap_of_replayed(tasks, cells_per_batch):
    one = tasks(model=NOISY, training={"old_log_probs": "replay", "cells_per_batch": cells_per_batch})
    return one.epoch(one.begin()).facts["metrics"]["train/log_prob_gap_max"]


def test_replayed_old_log_probs_are_held_against_those_of_another_order_and_of_the_remainders_batch(tasks):
    # 18 cells in batches of 8, 8 and 2: a replay of the same batches would differ by exactly 0.
    assert 0 < gap_of_replayed(tasks, cells_per_batch=8) < 1e-5


def test_the_kl_that_an_epoch_logs_is_the_exact_one(tasks):
    one = tasks(training={"learning_rate": 1e-3})
    plan = one.begin()
    one.epoch(plan)
    drawn, _ = one.rollouts(plan, 1)
    folders = [one.run.open(read_reference(path))[0] for path in drawn]
    kl = read_rollouts([file for folder in folders for file in sorted(folder.glob("trajectories-*"))], ()).kl

    metrics = one.train().facts["metrics"]

    assert metrics["sample/kl_to_reference"] == pytest.approx(float(kl.double().mean()))
    assert (kl >= 0).all()
    assert kl.any()


def test_a_run_begun_by_a_version_with_other_numbers_is_refused_and_told_why(tasks):
    one = tasks()
    plan = one.begin()
    path = Path(one.run.uri) / "run.json"
    described = json.loads(path.read_text())
    del described["fingerprint"]["numerics"]  # as written before there was more than one
    path.write_text(json.dumps(described))

    with pytest.raises(UserError, match=r"other numbers \(numerics 1; this version has 2\): use another name"):
        one.rollouts(plan)


def after_one_update(tasks, kl_weight):
    one = tasks(name=f"beta-{kl_weight}", objective={"kl_weight": kl_weight})
    folder, _ = one.run.open(one.epoch(one.begin()))
    return load_tensors(folder / WEIGHTS)


def test_beta_does_not_change_what_the_optimizer_does_to_a_gradient(tasks):
    # At the reference PRDP's gradient is that of the rewards times a constant that beta is in. At 1e7 Adam's epsilon
    # would swallow it.
    light, heavy = (after_one_update(tasks, beta) for beta in (0.001, 10000000.0))

    for name, weight in light.items():
        torch.testing.assert_close(heavy[name], weight, rtol=0, atol=2e-6)


def test_a_gradient_that_is_not_finite_stops_before_the_weights_change(tasks):
    one = tasks()
    one.begin()
    learner = learner_at(one.run, Reference(epoch=0), keep_reference=False)
    before = {name: weight.clone() for name, weight in learner.policy.trainable().items()}
    next(iter(learner.policy.trainable().values())).grad = torch.full_like(next(iter(before.values())), float("nan"))

    with pytest.raises(TrainingError, match="gradient norm is nan: nothing was updated"):
        learner.engine.step()

    assert all(torch.equal(before[name], weight) for name, weight in learner.policy.trainable().items())


def test_a_reward_that_is_not_finite_names_the_sample(tasks, monkeypatch):
    one = tasks()
    one.begin()
    sample(one.config, "1", "0", one.path("rollouts"))

    def scorer(images, prompts):
        return np.where(np.arange(len(images)) == 1, np.nan, 0.5)

    monkeypatch.setattr("reward_finetuning.steps.reward.load_scorers", lambda names: {"shapes": scorer})

    with pytest.raises(TrainingError, match=r"scorer shapes returned nan for sample 1 \(image 1 of"):
        reward(one.config, one.path("rollouts"), one.path("rewards"))


def test_equal_rewards_everywhere_leave_the_policy_and_are_counted(tasks, monkeypatch):
    one = tasks(training={"weight_decay": 0.0})
    monkeypatch.setattr(
        "reward_finetuning.steps.reward.load_scorers",
        lambda names: {"shapes": lambda images, prompts: np.full(len(images), 0.5)},
    )

    after = one.epoch(one.begin())

    assert after.facts["metrics"]["train/tied_prompts"] == 2.0
    assert after.facts["metrics"]["train/grad_norm"] == 0.0


def test_surplus_epochs_of_a_block_do_nothing(tasks):
    one = tasks(loop={"epochs": 1, "granularity": "split", "epochs_per_run": 3})
    plan = one.begin()
    after = one.epoch(plan)

    again = one.epoch(plan, offset=1)

    assert again == after


def test_the_plan_is_read_from_the_run_directory(tasks):
    one = tasks(loop={"epochs": 5, "granularity": "split", "epochs_per_run": 2})
    assert Plan.parse(one.begin()) == Plan(first=1, last=2, epochs=5)

    one.epoch(one.begin())

    assert Plan.parse(one.begin()) == Plan(first=2, last=3, epochs=5)


@pytest.mark.parametrize(("epoch", "due"), [(1, False), (2, True), (3, False), (4, True), (5, True), (6, False)])
def test_evaluation_is_due_every_so_many_epochs_and_at_the_last(run_config, epoch, due):
    assert is_evaluated(run_config(loop={"epochs": 5, "evaluate_every": 2}).loop, epoch) == due


def test_where_nothing_is_left_the_last_epoch_is_named_and_its_evaluation_made_good(tasks):
    one = tasks(loop={"epochs": 1})
    one.epoch(one.begin())

    begun = next_epochs(one.config, one.path("policy"))

    assert (begun.epochs, begun.first) == (["1"], "1")
    assert train_epoch(begun.run, "1", one.path("next")).is_evaluated


def test_evaluation_compares_with_the_pretrained_model_from_the_same_noise(tasks):
    one = tasks()
    one.begin()

    pretrained = evaluate(one.config, one.path("policy"), one.path("report.html"))
    one.epoch(one.begin())
    after = evaluate(one.config, one.path("policy"), one.path("report.html"))

    assert after["03 reward before (train)"] == pretrained["01 reward mean (train)"]
    assert after["01 reward gain (train)"] == pytest.approx(
        after["04 reward mean (train)"] - after["03 reward before (train)"]
    )
    assert {epoch for epoch, _ in history(one.run)["eval/train/reward/mean"]} == {0, 1}


def test_retention_keeps_what_it_says(tasks):
    one = tasks(loop={"epochs": 5, "evaluate_every": 2}, retention={"rollouts": 1, "policies": 1})
    run_epochs(one.config, one.begin(), one.path("p"), one.path("r"))

    kept = {
        name: [n.split("-")[0] for n in one.run.store.names(f"epochs/{name}")] for name in one.run.store.names("epochs")
    }

    assert kept["0005"] == ["evaluated", "policy", "report", "rewards", "rollouts"]
    assert kept["0002"] == ["evaluated", "policy", "report"]
    assert kept["0003"] == []
    assert one.run.latest().epoch == 5


def test_a_checkpoint_says_where_it_was_made(tasks):
    one = tasks()
    after = one.epoch(one.begin())
    folder, manifest = one.run.open(after)

    state = json.loads((folder / "state.json").read_text())

    assert state["epoch"] == 1
    assert state["fingerprint"] == one.run.fingerprint
    assert state["bit_exact"].startswith("yes")
    assert set(manifest.files) == {WEIGHTS, "optimizer.safetensors", "objective.safetensors", "state.json"}


def test_steps_refuse_other_settings_than_the_runs(tasks, run_config, tmp_path):
    one = tasks()
    one.begin()
    other = run_config(training={"learning_rate": 0.5}).model_dump_json()

    with pytest.raises(UserError, match=r"training.learning_rate: run has 0.0001, config says 0.5"):
        sample(other, "1", "0", one.path("rollouts"))
