"""What an epoch does, and that a run goes on in the same bits."""

import shutil
from pathlib import Path

import pytest

from reward_finetuning.config import TrainingError
from reward_finetuning.steps.run_epochs import run_epochs
from reward_finetuning.storage import RunDirectory
from reward_finetuning.training.learner import learner_at

pytestmark = pytest.mark.slow


def test_an_epoch_changes_the_policy_and_moves_latest(tasks):
    one = tasks()
    after = one.epoch(one.begin())

    assert one.run.latest() == after
    assert after.epoch == 1
    metrics = after.facts["metrics"]
    logged = "reward/mean reward/shapes/mean train/loss train/clip_fraction train/grad_norm train/log_prob_gap_max"
    assert {*logged.split(), "sample/kl_to_reference", "sample/images_per_second"} <= metrics.keys()
    assert metrics["sample/kl_to_reference"] == 0.0
    assert metrics["train/log_prob_gap_max"] < 1e-4


def test_shards_in_any_order_give_the_same_policy(tasks, run_config, tmp_path):
    whole = tasks(loop={"num_shards": 1, "granularity": "split"})
    expected = whole.epoch(whole.begin())
    shutil.rmtree(whole.run.uri)

    parts = tasks(loop={"num_shards": 2, "granularity": "split"})
    _, scored = parts.rollouts(parts.begin())
    after = parts.train()

    assert len(scored) == 2
    assert after.facts["weights_sha256"] == expected.facts["weights_sha256"]


def test_different_seeds_give_different_policies(tasks):
    digests = set()
    for seed in (0, 1):
        one = tasks(seed=seed, name=f"seed-{seed}")
        digests.add(one.epoch(one.begin()).facts["weights_sha256"])

    assert len(digests) == 2


def test_the_fused_loop_ends_in_the_same_bits_as_the_split_one(tasks, tmp_path):
    split = tasks()
    plan = split.begin()
    for offset in range(2):
        expected = split.epoch(plan, offset)

    fused = tasks(name="fused")
    run_epochs(fused.config, fused.begin(), fused.path("p"), fused.path("report.html"))

    assert fused.run.latest().facts["weights_sha256"] == expected.facts["weights_sha256"]
    assert Path(fused.path("report.html")).read_text().lstrip().lower().startswith("<!doctype html>")


@pytest.mark.parametrize("trainable", ["full", "lora"])
def test_the_loop_continues_in_the_same_bits_after_a_stop_between_any_two_commits(tasks, trainable):
    whole = tasks(name="whole", model={"trainable": trainable}, training={"updates_per_epoch": 2})
    run_epochs(whole.config, whole.begin(), whole.path("p"), whole.path("r"))

    resumed = tasks(name="resumed", model={"trainable": trainable}, training={"updates_per_epoch": 2})
    resumed.epoch(resumed.begin())  # one task an epoch: optimizer and weights come from disk
    resumed.rollouts(resumed.begin())  # epoch 2 stops after it was sampled and scored
    run_epochs(resumed.config, resumed.begin(), resumed.path("p"), resumed.path("r"))

    assert whole.run.latest().facts["weights_sha256"] == resumed.run.latest().facts["weights_sha256"]


def test_losing_the_optimizer_state_would_show(tasks, monkeypatch):
    whole = tasks(name="whole")
    run_epochs(whole.config, whole.begin(), whole.path("p"), whole.path("r"))
    monkeypatch.setattr("reward_finetuning.training.engine.Engine.load_state", lambda self, tensors, path: None)

    forgetful = tasks(name="forgetful")
    plan = forgetful.begin()
    for offset in range(2):
        forgetful.epoch(plan, offset)

    assert whole.run.latest().facts["weights_sha256"] != forgetful.run.latest().facts["weights_sha256"]


def test_a_step_that_is_done_returns_at_once(tasks, monkeypatch):
    one = tasks()
    plan = one.begin()
    shutil.copy(one.path("policy"), one.path("pretrained"))
    expected = one.epoch(plan)
    monkeypatch.setattr("reward_finetuning.policy.load.load_policy", lambda *a, **k: pytest.fail("loaded the model"))
    monkeypatch.setattr("reward_finetuning.policy.restore.load_policy", lambda *a, **k: pytest.fail("loaded the model"))
    shutil.copy(one.path("pretrained"), one.path("policy"))

    assert one.train(epoch=1) == expected


def test_a_crash_between_the_commit_and_the_pointer_is_healed(tasks, monkeypatch):
    one = tasks()
    plan = one.begin()
    one.rollouts(plan)
    with monkeypatch.context() as crash:
        crash.setattr(RunDirectory, "advance", lambda self, policy: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            one.train()
    assert one.run.latest().epoch == 0

    after = one.train()

    assert one.run.latest() == after


def test_many_epochs_in_one_task_load_the_reward_models_once(tasks, monkeypatch):
    from reward_finetuning.steps import run_epochs as module

    loads = []
    load = module.load_scorers
    monkeypatch.setattr(module, "load_scorers", lambda config: loads.append(config) or load(config))
    one = tasks(loop={"epochs": 2})

    run_epochs(one.config, one.begin(), one.path("p"), one.path("report.html"))

    assert one.run.latest().epoch == 2
    assert len(loads) == 1


@pytest.mark.parametrize("trainable", ["full", "lora"])
@pytest.mark.parametrize("learning_rate", [1e30, 1e37, 1e38])
def test_a_diverging_policy_is_never_committed_and_never_the_latest(tasks, trainable, learning_rate):
    one = tasks(training={"learning_rate": learning_rate}, model={"trainable": trainable})
    plan = one.begin()

    for _ in range(2):  # the same again ends the same
        with pytest.raises(TrainingError, match=r"unet.*lower training\.learning_rate"):
            one.epoch(plan)

    assert one.run.latest().epoch == 0
    assert one.run.store.manifest(one.run.name(1, "policy")) is None


def test_channels_last_moments_are_read_back_in_the_format_of_their_weights(tasks):
    one = tasks(model={"channels_last": True})
    after = one.epoch(one.begin())

    learner = learner_at(one.run, after, keep_reference=False)

    moments = [first for first, _, _ in learner.engine.moments()]
    assert [each.stride() for each in moments] == [each.stride() for each in learner.policy.trainable().values()]
    assert one.epoch(one.begin()).epoch == 2
