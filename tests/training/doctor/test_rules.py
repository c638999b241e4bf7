"""Each rule on curves: silent within its limit, one sentence with a setting and a value above it."""

import json
from pathlib import Path

import pytest

from reward_finetuning.config import RunConfig, load_config
from reward_finetuning.training.doctor.rules import examine


def config(run_config, **changes):
    return run_config(objective={"name": "prdp", "kl_weight": 20.0, "clip_range": 1e-3}, **changes)


def curves(**values):
    names = {"reward": "reward/mean", "std": "reward/std"}
    return {names.get(key, f"doctor/{key}"): list(enumerate(points, start=1)) for key, points in values.items()}


def warnings(found, settings):
    return [reading.warning for reading in examine(found, settings) if reading.warning]


def test_a_run_without_measures_has_no_reading(run_config):
    assert examine({"reward/mean": [(1, 0.5)]}, config(run_config)) == []


def test_measures_within_their_limits_are_read_and_give_no_advice(run_config):
    found = curves(
        reference_pull=[0.0, 1.0], log_prob_move=[5.0], gradient_noise=[0.9], effective_step=[1.2], epsilon_share=[0.25]
    )

    readings = examine(found, config(run_config))

    assert [reading.value for reading in readings] == [0.5, 5.0, 0.9, 1.2, 0.25]
    assert [reading.advice for reading in readings] == [""] * 5


@pytest.mark.parametrize(
    ("found", "training", "warning"),
    [
        (
            curves(reference_pull=[9.0, 9.0, 0.0, 10.0, 20.0]),
            {},
            "pull of the reference is too high (10 times the reward's, limit 1): try objective.kl_weight: 1",
        ),
        (
            curves(log_prob_move=[6.0], log_prob_move_first=[2.0]),
            {"updates_per_epoch": 4},
            "move of the log-probs in an epoch is too high (6 clip ranges, limit 5): try training.updates_per_epoch: 2",
        ),
        (
            curves(log_prob_move=[6.0], log_prob_move_first=[5.0]),
            {"updates_per_epoch": 4, "learning_rate": 1e-2},
            "move of the log-probs in an epoch is too high (6 clip ranges, limit 5): try training.learning_rate: 0.005",
        ),
        (
            curves(effective_step=[2.0]),
            {},
            "step of the optimizer is too high (2 learning rates, limit 1.2): try training.betas: [0.9, 0.99]",
        ),
        (
            curves(epsilon_share=[0.4]),
            {},
            "share of weights held back by training.epsilon is too high (0.4, limit 0.25): try training.epsilon: 1e-10",
        ),
    ],
)
def test_a_measure_above_its_limit_gives_one_sentence_with_a_setting_and_a_value(run_config, found, training, warning):
    settings = config(run_config, training={"cells_per_batch": 8, "learning_rate": 1e-4, **training})

    assert warnings(found, settings) == [warning]


@pytest.mark.parametrize(
    ("first", "last", "num_epochs", "fires"),
    [(0.3, 0.3, 20, True), (0.3, 0.2, 20, True), (0.3, 0.5, 20, False), (0.3, 0.3, 19, False)],
)
def test_noise_is_too_high_only_where_the_reward_does_not_rise(run_config, first, last, num_epochs, fires):
    rewards = [first] * 10 + [last] * (num_epochs - 10)
    found = curves(gradient_noise=[0.95] * num_epochs, reward=rewards, std=[0.2] * num_epochs)

    warned = warnings(found, config(run_config))

    sentence = (
        "share of noise in the gradient is too high (0.95, limit 0.9): "
        "try prompts.prompts_per_epoch: 4, for the reward has not risen"
    )
    assert warned == [sentence] * fires


def test_advice_is_a_setting_that_a_run_file_takes(run_config, tmp_path):
    found = curves(
        reference_pull=[3000.0],
        log_prob_move=[9.0],
        effective_step=[3.0],
        epsilon_share=[1.0],
        log_prob_move_first=[9.0],
    )
    settings = config(run_config)
    path = tmp_path / "run.yaml"
    path.write_text(settings.model_dump_json(), encoding="utf-8")

    advised = [reading.advice.replace(": ", "=", 1) for reading in examine(found, settings)]
    tried = load_config(path, advised)

    assert tried.objective.kl_weight == pytest.approx(0.003)
    assert (tried.training.learning_rate, tried.training.epsilon) == (5e-5, 1e-10)
    assert tried.training.betas == (0.9, 0.99)


RUNS = Path(__file__).parents[3] / "benchmarks" / "study" / "doctor"
FIRST_SETTINGS = {
    "superseded-large": {"pull of the reference"},
    "superseded-small": {"pull of the reference"},
    "superseded-large-beta0.1": {"move of the log-probs in an epoch"},
}


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.json")), ids=lambda path: path.stem)
def test_recorded_runs_are_warned_of_if_they_have_the_studys_first_settings_and_not_otherwise(path):
    run = json.loads(path.read_text(encoding="utf-8"))
    settings = RunConfig.model_validate({"name": run["arm"], **run["settings"]})

    labels = set()
    for epoch in range(1, run["epochs_done"] + 1):
        until = {name: [point for point in points if point[0] <= epoch] for name, points in run["curves"].items()}
        labels |= {reading.label for reading in examine(until, settings) if reading.advice}

    assert labels == FIRST_SETTINGS.get(run["arm"], set())
