"""The short run of --calibrate: what it does, and the rates in its metrics. A whole one is run by tests of the CLI."""

import pytest

from reward_finetuning.config import UserError, load_config
from reward_finetuning.pipelines.cli.run_files import RUNS
from reward_finetuning.pipelines.estimate.rates import Rates
from reward_finetuning.pipelines.local.calibration import rates_of, short_run

RETRAIN = RUNS / "shapes-retrain.yaml"
PATHS = sorted({*RUNS.glob("*.yaml")} - {RETRAIN})


@pytest.mark.parametrize("path", PATHS, ids=lambda path: path.stem)
def test_every_run_file_of_the_package_has_a_short_run_of_one_micro_batch(path, tmp_path):
    config = load_config(path, ["prompts.train=animals"])  # some prompts have to be downloaded

    short = short_run(config, tmp_path)

    assert short.num_images < config.sampling.micro_batch_size + config.sampling.images_per_prompt
    assert short.num_images >= min(config.num_images, config.sampling.micro_batch_size)
    assert short.training == config.training
    assert short.objective == config.objective
    assert short.run_root == str(tmp_path)


def test_a_series_of_retrainings_has_no_short_run(tmp_path):
    with pytest.raises(UserError, match="without the section retraining"):
        short_run(load_config(RETRAIN), tmp_path)


def test_a_window_of_stochastic_steps_stays_within_the_steps(run_config, tmp_path):
    sampling = run_config().sampling.model_dump(mode="json") | {"num_steps": 20, "flow": {"window": [2, 9]}}

    assert short_run(run_config(sampling=sampling), tmp_path).sampling.num_steps == 9


def test_settings_that_do_not_work_with_one_micro_batch_are_named(run_config, tmp_path):
    config = run_config().model_copy(update={"objective": run_config(objective={"name": "ddpo"}).objective})
    broken = config.model_copy(update={"training": config.training.model_copy(update={"learning_rate": -1.0})})

    with pytest.raises(UserError, match=r"the short run of --calibrate: training\.learning_rate"):
        short_run(broken, tmp_path)


def test_rates_by_hand(run_config):
    short = run_config(
        prompts={"train": "animals", "prompts_per_epoch": 2},
        sampling={"num_steps": 5, "images_per_prompt": 4, "micro_batch_size": 8},
    )
    curves = {"sample/seconds": [40.0, 80.0], "reward/seconds": [4.0, 8.0], "train/seconds": [12.0, 10.0]}

    rates = rates_of(short, curves, 300.0)

    evaluated = 2 * 8 * (5 * 1.0 + 1.0)
    assert rates == Rates(
        pretrained_step=1.0, step=2.0, score=1.0, cell=0.25, start=300 - (40 + 80 + 12 + 22 + evaluated)
    )
