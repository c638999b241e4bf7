import pytest

from reward_finetuning.config import TrainingError
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.tracking import history

pytestmark = pytest.mark.slow

BOUND = {"max_kl": 1e-9, "min_spread": 0.0, "guard_drop": None}


def test_an_alarm_is_said_and_recorded_and_training_goes_on(tasks, capsys):
    one = tasks(monitor=BOUND)
    plan = one.begin()
    one.epoch(plan, 0)

    after = one.epoch(plan, 1)

    assert after.epoch == 2
    assert "warning: epoch 2: KL to the reference is" in capsys.readouterr().out
    assert history(one.run)["monitor/kl"] == [(2, 1.0)]


def test_an_alarm_ends_the_run_if_that_is_asked_for_and_nothing_is_lost(tasks):
    one = tasks(monitor={**BOUND, "on_alarm": "stop"}, loop={"epochs": 3})
    plan = one.begin()
    one.epoch(plan, 0)

    with pytest.raises(TrainingError, match=r"stopped by the monitor: KL .* monitor.max_kl is 1e-09. To continue"):
        one.epoch(plan, 1)

    assert one.run.latest().epoch == 2
    with pytest.raises(TrainingError, match="stopped by the monitor"):
        one.begin()
    raised = tasks(monitor={"max_kl": 10.0, "on_alarm": "stop"}, loop={"epochs": 3})
    assert '"first":3' in next_epochs(raised.config, raised.path("policy")).plan
