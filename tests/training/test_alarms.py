import pytest

from reward_finetuning.config.sections.monitor import MonitorConfig
from reward_finetuning.training.alarms import find_alarms

WINDOW = 2


def curves(**values):
    names = {"reward": "reward/mean", "spread": "reward/std_within_prompt", "kl": "sample/kl_to_reference"}
    names |= {"guard": "reward/colour/mean", "guard_std": "reward/colour/std"}
    return {names[key]: list(enumerate(points, start=1)) for key, points in values.items()}


def alarms(found, guards=("colour",), **bounds):
    return [alarm.name for alarm in find_alarms(found, MonitorConfig(window=WINDOW, **bounds), guards)]


def test_a_run_that_goes_well_raises_no_alarm():
    well = curves(
        reward=[0.1, 0.2, 0.3, 0.4], spread=[0.3] * 4, kl=[0.0, 0.1, 0.2, 0.3], guard=[1.0] * 4, guard_std=[0.1] * 4
    )

    assert alarms(well) == []


@pytest.mark.parametrize(("kl", "expected"), [(0.5, []), (0.51, ["kl"])])
def test_the_kl_has_a_bound_if_one_is_set(kl, expected):
    assert alarms(curves(kl=[0.9, kl]), max_kl=0.5) == expected
    assert alarms(curves(kl=[0.9, kl])) == []


def test_the_alarm_names_the_reference_and_not_the_pretrained_model():
    (alarm,) = find_alarms(curves(kl=[0.6]), MonitorConfig(max_kl=0.5), ())

    assert alarm.text == "KL to the reference is 0.6, monitor.max_kl is 0.5"


@pytest.mark.parametrize(("last", "expected"), [(0.09, []), (0.05, ["spread"])])
def test_images_that_become_alike_are_an_alarm(last, expected):
    assert alarms(curves(spread=[0.4, 0.4, last, last])) == expected
    assert alarms(curves(spread=[0.4, 0.4, last, last]), min_spread=0.0) == []


@pytest.mark.parametrize(
    ("reward", "guard", "expected"),
    [
        ([0.1, 0.1, 0.3, 0.3], [1.0, 1.0, 0.7, 0.7], ["guard/colour"]),
        ([0.1, 0.1, 0.3, 0.3], [1.0, 1.0, 0.85, 0.85], []),
        ([0.3, 0.3, 0.1, 0.1], [1.0, 1.0, 0.7, 0.7], []),
    ],
)
def test_a_guard_that_falls_while_the_trained_reward_rises_is_an_alarm(reward, guard, expected):
    found = curves(reward=reward, guard=guard, guard_std=[0.2] * 4)

    assert alarms(found) == expected
    assert alarms(found, guard_drop=None) == []
    assert alarms(found, guards=()) == []


def test_nothing_is_compared_before_two_windows_are_there():
    assert alarms(curves(spread=[0.4, 0.4, 0.0])) == []
