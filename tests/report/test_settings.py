"""The page of the first task."""

from reward_finetuning.report.settings import changed_settings, settings_page


def test_settings_that_differ_from_the_defaults_come_first_and_all_below(run_config):
    config = run_config(training={"learning_rate": 3e-5})

    page = settings_page(config, "gs://bucket/runs/tiny", "abc", ["3", "4"], 2)

    head, rest = page.split("## All settings")
    assert "| training.learning\\_rate | 3e-05 | " in head
    assert "training.weight\\_decay" not in head
    assert "| training.weight\\_decay |" in rest
    assert "Run directory: gs://bucket/runs/tiny" in head
    assert "MLflow run: abc" in head
    assert "epochs 3 to 4 of 2" not in head


def test_the_epochs_of_this_pipeline_run_are_said(run_config):
    config = run_config(loop={"epochs": 9})

    assert "trains epochs 3 to 4 of 9" in settings_page(config, "a", None, ["3", "4"], 2)
    assert "All 9 epochs are trained" in settings_page(config, "a", None, ["9"], 9)


def test_settings_of_an_objective_are_held_against_the_defaults_of_that_objective(run_config):
    config = run_config(objective={"name": "ppod"})

    chosen = changed_settings(config)

    assert not [key for key in chosen if key.startswith("objective.")]
