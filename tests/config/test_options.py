"""What a person may change where a pipeline run is cloned."""

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.config.options import address_of, with_options


@pytest.fixture
def config(run_config):
    return run_config(loop={"epochs": 4, "granularity": "split"})


def test_no_options_and_the_own_address_change_nothing(config):
    assert with_options(config, "") == config
    assert with_options(config, "  ", f"{address_of(config)}/") == config


def test_a_setting_that_changes_no_number_belongs_to_the_same_run(config):
    changed = with_options(config, "loop.epochs=9 monitor.on_alarm=stop")

    assert (changed.name, changed.loop.epochs, changed.monitor.on_alarm) == (config.name, 9, "stop")


def test_a_changed_number_is_another_run_whose_name_follows_from_the_settings(config):
    options = "training.learning_rate=3e-5 objective.kl_weight=1"

    once, again = with_options(config, options), with_options(config, " ".join(reversed(options.split())))
    more_epochs = with_options(config, f"{options} loop.epochs=9")

    assert once == again
    assert once.name.startswith(f"{config.name}-")
    assert (once.training.learning_rate, once.objective.kl_weight) == (3e-5, 1)
    assert more_epochs.name == once.name
    assert with_options(config, "training.learning_rate=4e-5").name not in {once.name, config.name}


def test_a_name_that_somebody_gives_is_kept(config):
    by_option = with_options(config, "name=warm training.learning_rate=3e-5")
    by_address = with_options(config, "training.learning_rate=3e-5", "gs://bucket/runs/warm/")

    assert by_option.name == by_address.name == "warm"
    assert by_address.run_root == "gs://bucket/runs"


def test_quotes_are_those_of_a_shell(config):
    changed = with_options(config, "'reward.weights={shapes: 1.0, colourfulness: 0.5}' tracking.experiment='my runs'")

    assert changed.reward.weights == {"shapes": 1.0, "colourfulness": 0.5}
    assert changed.tracking.experiment == "my runs"


def test_the_longest_name_keeps_its_length(run_config):
    changed = with_options(run_config(name="x" * 128), "seed=7")

    assert len(changed.name) == 128


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ("training.learning_rat=1", "options: unknown key 'training.learning_rat'; did you mean 'learning_rate'"),
        ("training.learning_rate=fast", "options: training.learning_rate: .*, got 'fast'"),
        ("faster", "an override is written section.key=value, got 'faster'"),
        ("name='a", "options are section.key=value, separated by spaces: No closing quotation"),
        ("loop.num_shards=2 sampling.micro_batch_size=1", "options cannot change loop.num_shards: compile and submit"),
        ("loop.granularity=fused", "options cannot change loop.granularity"),
    ],
)
def test_a_wrong_option_is_refused_with_the_reason(config, options, message):
    with pytest.raises(UserError, match=message):
        with_options(config, options)


def test_an_address_without_a_folder_is_refused(config):
    with pytest.raises(UserError, match="run is the address of a run directory, such as"):
        with_options(config, "", "warm")
