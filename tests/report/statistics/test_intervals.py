import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reward_finetuning.report.statistics.intervals import mean_interval, paired_difference, win_rate


def ids(sizes):
    return [f"prompt {g}" for g, size in enumerate(sizes) for _ in range(size)]


def coverage(draw, *, truth, prompt_ids, replications=2000):
    intervals = (mean_interval(draw(), prompt_ids) for _ in range(replications))
    return sum(interval.low <= truth <= interval.high for interval in intervals) / replications


def test_with_one_image_a_prompt_it_is_students_paired_interval():
    rng = np.random.default_rng(0)
    before, after = rng.normal(size=30), rng.normal(0.5, size=30)

    interval = paired_difference(before, after, ids([1] * 30))

    expected = stats.ttest_rel(after, before).confidence_interval(0.95)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))
    assert (interval.num_prompts, interval.num_images, interval.unit) == (30, 30, "prompts")


def test_with_equally_many_images_it_is_students_interval_of_the_prompts_means():
    values = np.random.default_rng(1).normal(size=(25, 4))

    interval = mean_interval(values.ravel(), ids([4] * 25), confidence=0.9)

    expected = stats.ttest_1samp(values.mean(axis=1), 0).confidence_interval(0.9)
    assert (interval.low, interval.high) == pytest.approx((expected.low, expected.high))


def test_the_interval_of_unequal_prompts_agrees_with_a_hand_worked_one():
    # 20 prompts: one of 2 images, both 11.5; 19 of one image: ten 0, nine 1. S = 21, mean 32 / 21, w = 2/21 and 1/21.
    values = [11.5, 11.5, *[0] * 10, *[1] * 9]
    mean = 32 / 21
    squares = (2 * (11.5 - mean)) ** 2 / (19 / 21) + (10 * mean**2 + 9 * (1 - mean) ** 2) / (20 / 21)
    freedom = 21**2 / (4 + 19) - 1

    interval = mean_interval(values, ids([2, *[1] * 19]))

    half_width = stats.t.ppf(0.975, freedom) * np.sqrt(squares) / 21
    assert interval.mean == pytest.approx(mean)
    assert interval.high - interval.mean == pytest.approx(half_width)


def test_below_twenty_prompts_the_spread_between_prompts_is_left_out_and_the_unit_says_so():
    # Two prompts far apart, images at +-1 around each: s_g^2 = 2, v_g = (1/2)^2 * 2 / 2; 4 - 2 degrees.
    interval = mean_interval([99, 101, -101, -99], ids([2, 2]))

    assert interval.unit == "images"
    assert (interval.mean, interval.high) == pytest.approx((0, stats.t.ppf(0.975, 2) * np.sqrt(0.5)))


@pytest.mark.parametrize("num_prompts", [20, 50, 200])
@pytest.mark.parametrize("equal", [True, False])
def test_nineteen_of_twenty_intervals_cover_the_mean_over_all_prompts(num_prompts, equal):
    rng = np.random.default_rng(num_prompts)
    sizes = np.full(num_prompts, 4) if equal else rng.integers(1, 9, num_prompts)
    prompt = np.repeat(np.arange(num_prompts), sizes)

    def draw():
        return 0.1 + rng.normal(0, 0.3, num_prompts)[prompt] + rng.normal(0, 0.5, len(prompt))

    assert 0.93 < coverage(draw, truth=0.1, prompt_ids=ids(sizes)) < 0.97


@pytest.mark.parametrize("sizes", [[16], [4] * 5, [2] * 15, [1, 1, 3, 3, 8, 8, 8]])
def test_nineteen_of_twenty_intervals_cover_the_mean_over_the_given_prompts(sizes):
    rng = np.random.default_rng(len(sizes))
    levels = rng.normal(size=len(sizes)).repeat(sizes)

    def draw():
        return levels + rng.normal(0, 0.5, len(levels))

    assert 0.93 < coverage(draw, truth=levels.mean(), prompt_ids=ids(sizes)) < 0.97


def test_ignoring_prompts_would_cover_too_seldom():
    # Guards the simulations above: without clusters the same draws are covered far less often.
    rng = np.random.default_rng(3)

    def draw():
        return rng.normal(0, 0.5, 50).repeat(8) + rng.normal(0, 0.3, 400)

    assert coverage(draw, truth=0, prompt_ids=ids([1] * 400), replications=500) < 0.7


REWARDS = st.lists(st.floats(-100, 100).map(lambda x: round(x, 3)), min_size=2, max_size=60)


@settings(max_examples=50, deadline=None)
@given(REWARDS, st.integers(1, 60), st.floats(-100, 100), st.randoms(use_true_random=False))
def test_neither_a_common_shift_nor_the_order_of_the_images_matters(rewards, num_prompts, shift, random):
    before, after = np.zeros(len(rewards)), np.array(rewards)
    prompt_ids = [str(i % num_prompts) for i in range(len(rewards))]
    order = random.sample(range(len(rewards)), len(rewards))

    plain = paired_difference(before, after, prompt_ids)
    other = paired_difference(before[order] + shift, after[order] + shift, [prompt_ids[i] for i in order])

    assert (other.mean, other.low, other.high) == pytest.approx((plain.mean, plain.low, plain.high), abs=1e-4)
    assert other.unit == plain.unit


@pytest.mark.parametrize("size", [1, 2, 7, 40])
def test_equal_models_differ_by_exactly_nothing(size):
    rewards = np.random.default_rng(0).normal(size=size)

    interval = paired_difference(rewards, rewards, ids([1] * size))

    assert (interval.mean, interval.low, interval.high) == (0, 0, 0)


def test_more_confidence_makes_a_wider_interval():
    values = np.random.default_rng(0).normal(size=40)

    narrow, wide = (mean_interval(values, ids([1] * 40), confidence=level) for level in (0.5, 0.99))

    assert wide.low < narrow.low < narrow.high < wide.high


def test_a_single_image_leaves_the_interval_without_bounds():
    interval = mean_interval([0.3], ["a"])

    assert (interval.mean, interval.low, interval.high) == (0.3, -np.inf, np.inf)


def test_one_prompt_with_nearly_all_images_leaves_a_wide_but_usable_interval():
    # Kish's effective number of prompts is 1.04; a t quantile at 0.04 degrees of freedom has no meaning.
    values = np.random.default_rng(0).normal(size=1019)

    interval = mean_interval(values, ids([1000, *[1] * 19]))

    assert 0.1 < interval.high - interval.low < 1


def test_a_tie_is_half_a_win():
    assert win_rate([0, 0, 0, 0], [1, 0, -1, 2]) == 0.625
    assert win_rate([1, 2], [1, 2]) == 0.5


@pytest.mark.parametrize(
    ("before", "after", "prompt_ids", "said"),
    [
        ([1, 2], [1], ["a", "b"], "got 2 and 1 values"),
        ([1, 2], [1, 2], ["a"], r"\[S=2\].*got 1"),
        ([], [], [], r"at least one image, got shape \[0\]"),
        ([[1]], [[1]], ["a"], r"got shape \[1, 1\]"),
        ([1, float("nan")], [1, 2], ["a", "b"], "before must be finite, got nan at image 1"),
    ],
)
def test_what_cannot_be_compared_is_refused_and_named(before, after, prompt_ids, said):
    with pytest.raises(ValueError, match=said):
        paired_difference(before, after, prompt_ids)


def test_a_confidence_in_per_cent_is_refused():
    with pytest.raises(ValueError, match=r"for example 0.95, got 95"):
        mean_interval([1, 2], ["a", "b"], confidence=95)
