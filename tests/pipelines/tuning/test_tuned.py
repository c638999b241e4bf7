"""The run file and the table that a search leaves."""

import pytest

from reward_finetuning.config import TrainingError, UserError, load_config
from reward_finetuning.pipelines.tuning.grid import Cell
from reward_finetuning.pipelines.tuning.search import Trial, best_of
from reward_finetuning.pipelines.tuning.tuned import check_target, run_file, table, tuned_path


def cell(lr):
    return Cell("prdp", {"lr": lr, "u": 2}, {"training": {"learning_rate": lr, "updates_per_epoch": 2}})


TRIALS = [Trial(cell(0.1), 0.2, 0.1, 0.3), Trial(cell(0.3), None, error="diverged"), Trial(cell(0.2), 0.25, 0.2, 0.3)]


def test_the_run_file_has_the_settings_of_the_best_cell_and_all_others_of_the_file(tmp_path):
    tree = {"name": "mine", "objective": {"name": "prdp", "kl_weight": 0.5}, "training": {"cells_per_batch": 8}}
    path = tmp_path / "mine-tuned.yaml"
    path.write_text(run_file(tree, best_of(TRIALS), 3, 16), encoding="utf-8")

    config = load_config(path)

    assert (config.name, config.objective.kl_weight) == ("mine-tuned", 0.5)
    training = config.training
    assert (training.learning_rate, training.updates_per_epoch, training.cells_per_batch) == (0.2, 2, 8)


def test_the_table_has_every_cell_the_highest_gain_first_and_a_run_that_stopped_last():
    assert table(TRIALS) == [
        ("lr", "u", "gain", "95 % interval", ""),
        ("0.2", "2", "+0.250", "+0.200 to +0.300", "selected"),
        ("0.1", "2", "+0.200", "+0.100 to +0.300", ""),
        ("0.3", "2", "", "", "diverged"),
    ]


def test_nothing_is_selected_where_every_run_stopped():
    with pytest.raises(TrainingError, match="no run of 1 cells could be trained to its end; the first: diverged"):
        best_of(TRIALS[1:2])


def test_only_a_file_that_tune_wrote_and_nobody_changed_is_replaced(tmp_path):
    path = tmp_path / tuned_path(tmp_path / "mine.yaml")
    assert path == tmp_path / "mine-tuned.yaml"
    check_target(path)
    path.write_text(run_file({"name": "mine"}, best_of(TRIALS), 3, 16), encoding="utf-8")
    check_target(path)

    path.write_text(path.read_text(encoding="utf-8") + "seed: 3\n", encoding="utf-8")

    with pytest.raises(UserError, match="was changed since: move it, or replace it with --force"):
        check_target(path)
