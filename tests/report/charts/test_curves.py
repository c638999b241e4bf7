import math

import numpy as np

from reward_finetuning.report.charts.curves import MAX_POINTS, draw_curves, thinned


def names(curves):
    return [curve.name for curve in draw_curves(curves)]


def test_every_curve_is_drawn_in_the_order_given_with_its_latest_value():
    curves = draw_curves({"train/kl": [(0, 0.0), (2, 0.25), (1, 0.5)], "train/loss": [(0, 1.0)]})

    assert [(curve.name, curve.latest) for curve in curves] == [("train/kl", "0.25"), ("train/loss", "1.000")]
    assert "0.00 at epoch 0" in curves[0].description
    assert "highest 0.50" in curves[0].description


def test_spreads_become_bands_instead_of_curves_of_their_own():
    points = [(0, 1.0), (1, 2.0)]
    with_band = {
        "reward/mean": points,
        "reward/std": points,
        "x/gain": points,
        "x/gain_low": points,
        "x/gain_high": points,
    }

    assert names(with_band) == ["reward/mean", "x/gain"]
    assert names({"reward/std": points, "x/gain_low": points}) == ["reward/std", "x/gain_low"]
    assert all("fill-opacity" in curve.svg for curve in draw_curves(with_band))


def test_values_that_are_no_numbers_are_left_out():
    (curve,) = draw_curves({"kl": [(0, 1.0), (1, math.nan), (2, math.inf), (3, 3.0)]})

    assert "highest 3.0" in curve.description


def test_colours_come_from_the_page_so_that_both_schemes_can_be_read():
    (curve,) = draw_curves({"kl": [(0, 1.0), (1, 2.0)]})

    assert {"var(--accent)", "var(--muted)", "var(--rule)"} <= set(
        curve.svg.replace(";", " ").replace('"', " ").split()
    )
    assert "#0" not in curve.svg.replace("#m", "")
    assert "font-family" not in curve.svg


def test_tick_labels_keep_all_their_digits():
    (curve,) = draw_curves({"kl": [(0, 0.0), (1, 0.0075)]})

    assert ">0.0025<" in curve.svg or ">0.002<" in curve.svg


def test_a_long_curve_is_thinned_without_losing_its_spikes():
    values = np.zeros(10_000)
    values[[1234, 5678]] = 50, -7

    points = thinned(list(enumerate(values.tolist())))

    assert len(points) <= MAX_POINTS
    assert {(1234, 50.0), (5678, -7.0)} <= set(points)
    assert points == sorted(points)


def test_a_drawing_depends_only_on_its_name_and_points():
    curves = {"kl": [(0, 1.0), (1, 2.0)]}

    assert draw_curves(curves) == draw_curves({**curves, "other": [(0, 1.0)]})[:1]
