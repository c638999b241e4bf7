"""Durations out of the rates of a short run, by hand."""

import pytest

from reward_finetuning.pipelines.estimate.rates import Rates, cells_of_an_epoch, durations

RATES = Rates(pretrained_step=1.0, step=2.0, score=0.5, cell=0.25, start=30.0)


@pytest.fixture
def config(run_config, tmp_path):
    """8 images of 4 steps, 3 epochs, evaluated before, after the second and after the last, on 2 prompts x 3 images."""
    prompts = tmp_path / "two.txt"
    prompts.write_text("a cat\na dog\n", encoding="utf-8")

    def make(**changes):
        tree = {
            "prompts": {"train": "animals", "prompts_per_epoch": 2},
            "sampling": {"num_steps": 4, "images_per_prompt": 4, "micro_batch_size": 4},
            "loop": {"epochs": 3, "evaluate_every": 2},
            "evaluation": {"prompt_sets": {"two": str(prompts)}, "images_per_prompt": 3, "kl": False},
        }
        return run_config(**{**tree, **changes})

    return make


def test_an_online_run_by_hand(config):
    assert durations(config(), RATES) == {
        "sample": 8 * 4 * (1 + 2 * 2),
        "reward": 8 * 3 * 0.5,
        "train": 3 * 8 * 4 * 0.25,
        "evaluate": 3 * 6 * (4 * 1 + 0.5),
        "start": 30.0,
    }


def test_offline_rollouts_are_drawn_and_scored_once(config):
    sampling = {"num_steps": 4, "images_per_prompt": 4, "micro_batch_size": 4, "rollouts": "offline"}

    seconds = durations(config(sampling=sampling, objective={"name": "rwr"}), RATES)

    assert (seconds["sample"], seconds["reward"]) == (8 * 4 * 1, 8 * 0.5)


def test_the_kl_of_every_policy_but_the_pretrained_one_is_a_second_pass(config):
    evaluation = config().evaluation.model_dump(mode="json") | {"kl": True, "num_steps": 6}

    assert durations(config(evaluation=evaluation), RATES)["evaluate"] == 6 * (5 * 6 * 1 + 3 * 0.5)


def test_an_update_of_ppod_trains_on_its_pairs_alone(config):
    objective = {"name": "ppod", "pairs_per_update": 3}

    assert cells_of_an_epoch(config(objective=objective), 8) == 6 * 4
    assert cells_of_an_epoch(config(objective=objective), 4) == 4 * 4
