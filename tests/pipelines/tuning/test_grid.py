"""Grids: their cells, which lie near a run file's values, and which one is selected."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_finetuning.pipelines.tuning.grid import around, cells, selected

GRID = {"lr": {"training.learning_rate": [0.1, 0.2]}, "u": {"training.updates_per_epoch": [1, 4]}}


def test_a_grid_is_every_combination_of_its_knobs_as_settings_of_a_run_file():
    found = list(cells("prdp", GRID))

    assert [cell.arm for cell in found] == ["prdp-lr0.1-u1", "prdp-lr0.1-u4", "prdp-lr0.2-u1", "prdp-lr0.2-u4"]
    assert found[1].settings == {"training": {"learning_rate": 0.1, "updates_per_epoch": 4}}


def test_the_highest_gain_is_selected_never_a_run_that_stopped_and_none_while_a_cell_is_missing():
    grid = list(cells("prdp", GRID))
    gains = {"prdp-lr0.1-u1": -0.3, "prdp-lr0.1-u4": None, "prdp-lr0.2-u1": -0.2, "prdp-lr0.2-u4": -0.4}

    assert selected(grid, gains).arm == "prdp-lr0.2-u1"
    assert selected(grid, gains, {"u": 4}).arm == "prdp-lr0.2-u4"
    assert selected(grid, {key: gains[key] for key in list(gains)[:3]}) is None
    assert selected(grid, dict.fromkeys(gains)) is None


def test_the_nearest_cells_are_the_run_files_own_then_those_with_one_other_setting(run_config):
    config = run_config(training={"learning_rate": 6e-3, "updates_per_epoch": 2}, objective={"kl_weight": 0.3})

    found = [tuple(cell.knobs.values()) for cell in around(config, 12)]

    assert found[0] == (6e-3, 2, 0.3)
    assert set(found[1:7]) == {
        (2e-3, 2, 0.3),
        (1.8e-2, 2, 0.3),
        (6e-3, 4, 0.3),
        (6e-3, 1, 0.3),
        (6e-3, 2, 0.03),
        (6e-3, 2, 3),
    }
    assert set(found[7:11]) == {(2e-3, 4, 0.3), (2e-3, 1, 0.3), (1.8e-2, 4, 0.3), (1.8e-2, 1, 0.3)}


@pytest.mark.parametrize(
    ("objective", "values"),
    [
        ({"name": "ppod", "kl_weight": 300.0}, {300, 30, 3000}),
        ({"name": "dpok", "kl_weight": 0.1}, {0.1, 0.01, 1}),
        ({"name": "dpok", "kl_weight": 0.0}, {0, 0.1}),
        ({"name": "ddpo", "max_advantage": 5.0}, {5, 1.5, 15}),
        ({"name": "rwr", "weighting": "best_share", "share": 0.5}, {0.5, 0.25}),
        ({"name": "rwr", "weighting": "best_share", "share": 0.25}, {0.25, 0.12, 0.5}),
        ({"name": "rwr", "temperature": 0.2}, {0.2, 0.06, 0.6}),
    ],
    ids=str,
)
def test_each_method_has_a_knob_of_its_own(run_config, objective, values):
    assert {list(cell.knobs.values())[2] for cell in around(run_config(objective=objective), 27)} == values


@given(st.integers(1, 27))
def test_a_larger_budget_keeps_the_cells_of_a_smaller_one(run_config_in, tmp_path_factory, number):
    config = run_config_in(tmp_path_factory.getbasetemp())

    whole, part = around(config, 27), around(config, number)

    assert whole[: len(part)] == part
    assert len({cell.arm for cell in whole}) == len(whole)
