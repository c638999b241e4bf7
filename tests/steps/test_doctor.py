"""The doctor in real epochs: what is measured, and that training does not notice."""

from contextlib import contextmanager

import pytest

from reward_finetuning.training import update

pytestmark = pytest.mark.slow

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
    one = tasks(training={"cells_per_batch": 8, "learning_rate": 1e-1})
    plan = one.begin()

    one.epoch(plan, 0)
    one.epoch(plan, 1)

    log = capsys.readouterr().out
    assert log.count("move of the log-probs in an epoch is too high") == 1
    assert "warning: epoch 1: move of the log-probs" in log
    assert "clip ranges, limit 5): try training.learning_rate: 0.05" in log
