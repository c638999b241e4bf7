import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reward_finetuning.report.formatting import change_and_bounds, decimals, number, shortened, signed, verdict


@pytest.mark.parametrize(
    ("value", "places", "said"),
    [
        (0.123, 2, "+0.12"),
        (-0.123, 2, "−0.12"),
        (-0.001, 2, "0.00"),
        (0.001, 2, "0.00"),
        (math.inf, 2, "+∞"),
        (-math.inf, 2, "−∞"),
    ],
)
def test_a_change_shows_its_sign_unless_it_rounds_to_nothing(value, places, said):
    assert signed(value, places) == said


SIZES = st.floats(0, 1e6, exclude_min=True)


@given(st.lists(SIZES, min_size=3, max_size=3), st.sampled_from([1, -1]), st.integers(2, 5))
def test_no_bound_of_an_interval_without_zero_reads_as_zero_or_with_the_other_sign(sizes, sign, places):
    low, mean, high = sorted(sign * size for size in sizes)

    texts = change_and_bounds(mean, low, high, places)

    assert {text[0] for text in texts} == {"+" if sign > 0 else "−"}
    assert all(float(text.replace("−", "-")) for text in texts)


@pytest.mark.parametrize(
    ("interval", "places", "shown"),
    [
        ((0.02, 0.0004, 0.04), 2, ("+0.0200", "+0.0004", "+0.0400")),
        ((0.02, 0.006, 0.04), 2, ("+0.02", "+0.01", "+0.04")),
        ((0.02, -0.0004, 0.04), 2, ("+0.02", "0.00", "+0.04")),
        ((-2e-9, -3e-9, -1e-9), 5, ("−2.0e−09", "−3.0e−09", "−1.0e−09")),
        ((1.0, 1e-4, math.inf), 2, ("+1.0000", "+0.0001", "+∞")),
    ],
)
def test_an_interval_has_more_decimals_only_where_its_sign_needs_them(interval, places, shown):
    assert change_and_bounds(*interval, places) == shown


def test_a_number_has_a_true_minus_sign():
    assert number(-1.5, 1) == "−1.5"


@pytest.mark.parametrize(("width", "places"), [(3.0, 2), (0.05, 3), (0.0012, 4), (1e-9, 5), (0.0, 3), (math.inf, 3)])
def test_a_number_has_two_digits_of_its_uncertainty(width, places):
    assert decimals(width) == places


def test_rewards_with_the_same_findings_are_named_together():
    judged = [(reward, place, "better") for place in ("train", "heldout") for reward in ("reward", "beauty")]

    assert verdict("epoch 2", "epoch 1", judged) == (
        "Epoch 2 is better than epoch 1 on reward and beauty (train, heldout) (95 % confidence each)."
    )


def test_a_single_loss_is_said_plainly():
    assert verdict("epoch 2", "epoch 1", [("reward", "train", "worse")]) == (
        "Epoch 2 is worse than epoch 1 on reward (95 % confidence)."
    )


def test_characters_that_break_or_turn_the_text_become_visible():
    assert shortened("a\x00b\ud800c\u202ed\te", 20) == "a�b�c�d\te"


def test_text_that_is_cut_shows_that_it_is():
    assert (shortened("abcd", 3), shortened("abc", 3)) == ("abc…", "abc")
