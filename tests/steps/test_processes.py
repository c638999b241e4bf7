"""The steps on two processes: the same policy within rounding, and an error of one is the error of the step.

torchrun starts the processes where the test is about an error, and of one successful epoch. It imports torch in each
of them, so the other epochs are those of forked processes.
"""

import json
import os
import sys

import pytest
from safetensors.torch import load_file
from servers import forks

from reward_finetuning.config import TrainingError, UserError
from reward_finetuning.steps import run_epochs as fused
from reward_finetuning.steps import train_epoch as split
from reward_finetuning.steps.run_epochs import run_epochs

pytestmark = pytest.mark.slow

TRAINING = {"updates_per_epoch": 2, "max_grad_norm": 1e9}
QUIET = {"tracking": {"enabled": False}}


@pytest.fixture
def forked(monkeypatch):
    """Lets the steps fork their processes from now on."""
    return lambda: [monkeypatch.setattr(step, "start", forks.start) for step in (fused, split)]


def weights(run, after):
    return load_file(run.store.fetch(after.name) / "policy.safetensors")


def distance(one, other):
    return sum(float((one[name] - other[name]).square().sum()) for name in one) ** 0.5


def test_an_epoch_by_each_step_on_two_processes_gives_one_processs_policy(tasks, forked):
    alone = tasks(name="alone", training=TRAINING, **QUIET)
    plan = alone.begin()
    first, second = (alone.epoch(plan, offset) for offset in range(2))

    two = tasks(name="two", training={**TRAINING, "processes": 2}, **QUIET)
    together = two.epoch(two.begin())  # train_epoch on two processes
    forked()
    run_epochs(two.config, two.begin(), two.path("p"), two.path("report.html"))  # and run_epochs for the second epoch

    change = distance(weights(alone.run, first), weights(alone.run, second))
    assert two.run.latest().epoch == 2
    assert distance(weights(two.run, together), weights(alone.run, first)) <= 1e-3 * change
    assert distance(weights(two.run, two.run.latest()), weights(alone.run, second)) <= 1e-2 * change
    names = two.run.store.names("epochs/0002")
    assert [name for name in names if name.startswith("rollouts-")] == ["rollouts-00000-00001", "rollouts-00001-00002"]
    about = json.loads((two.run.store.fetch("epochs/0002/policy") / "state.json").read_text())
    assert about["processes"] == 2
    assert about["bit_exact"].startswith("no: 2 processes")


def test_a_checkpoint_of_sharded_weights_resumes_on_one_process_and_the_other_way_round(tasks, forked):
    forked()
    # Sharded weights have the channels first, and AdamW's first steps make much of the last bits.
    same = {**QUIET, "model": {"channels_last": False}}
    whole = {**TRAINING, "processes": 1, "ema_decay": 0.5}
    sharded = {**TRAINING, "processes": 2, "ema_decay": 0.5, "sharding": "fsdp"}
    alone = tasks(name="alone", training=whole, **same)
    plan = alone.begin()
    first, second = (alone.epoch(plan, offset) for offset in range(2))
    change = distance(weights(alone.run, first), weights(alone.run, second))

    two = tasks(name="two", training=sharded, **same)
    together = two.epoch(two.begin())
    then_one = tasks(name="two", training=whole, **same)
    resumed = then_one.epoch(then_one.begin())
    one = tasks(name="one", training=whole, **same)
    one.epoch(one.begin())
    then_two = tasks(name="one", training=sharded, **same)
    run_epochs(then_two.config, then_two.begin(), one.path("p"), one.path("report.html"))

    assert distance(weights(two.run, together), weights(alone.run, first)) <= 1e-3 * change
    for ended in (weights(two.run, resumed), weights(one.run, one.run.latest())):
        assert distance(ended, weights(alone.run, second)) <= 1e-2 * change
    assert one.run.latest().epoch == 2


def test_what_stops_training_is_said_and_nothing_is_committed(tasks):
    one = tasks(training={"processes": 2, "updates_per_epoch": 2, "learning_rate": 1e30}, **QUIET)
    one.rollouts(one.begin())

    with pytest.raises(TrainingError, match="replayed log-probs are not finite"):
        one.train()

    assert one.run.latest().epoch == 0
    assert not any(name.endswith("policy") for name in one.run.store.names("epochs/0001"))


def test_one_failing_process_ends_the_step_with_its_error(tasks, tmp_path, monkeypatch):
    """The second process's reward fails while the first one waits for it."""
    (tmp_path / "failing.py").write_text(
        "import os\n"
        "from reward_finetuning.config import UserError\n"
        "def reward(images, prompts):\n"
        "    if os.environ.get('RANK') == '1':\n"
        "        raise UserError('the second process has no such weights')\n"
        "    return [0.5] * len(images)\n"
    )
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(tmp_path), *sys.path]))
    monkeypatch.syspath_prepend(str(tmp_path))
    one = tasks(
        **QUIET,
        training={"processes": 2},
        reward={"weights": {"failing": 1.0}, "scorers": {"failing": {"use": "failing:reward"}}},
    )

    with pytest.raises(UserError, match="the second process has no such weights"):
        run_epochs(one.config, one.begin(), one.path("p"), one.path("r"))

    assert one.run.latest().epoch == 0
    assert not any(name.endswith("policy") for name in one.run.store.names("epochs/0001"))
