import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from reward_finetuning.report.statistics.intervals import mean_interval, paired_difference, win_rate


def ids(sizes):
    return [f"prompt {g:03}" for g, size in enumerate(sizes) for _ in range(size)]


def coverage(draw, *, truth, prompt_ids, replications=1000):
    intervals = (mean_interval(draw(), prompt_ids) for _ in range(replications))
    return sum(interval.low <= truth <= interval.high for interval in intervals) / replications


def students(values, confidence=0.95):
    interval = stats.ttest_1samp(values, 0).confidence_interval(confidence)
    return interval.low, interval.high


def students_covers(values, sizes, truth):
    """Whether Student's clustered interval (CR2, Kish's freedom) covers the truth."""
    w = sizes / sizes.sum()
    means = np.array([part.mean() for part in np.split(values, np.cumsum(sizes)[:-1])])
    residuals = w * (means - w @ means) / np.sqrt(1 - w)
    half_width = stats.t.ppf(0.975, 1 / (w @ w) - 1) * np.sqrt(residuals @ residuals)
    return abs(w @ means - truth) <= half_width


def bootstrap_t(means, sizes, confidence=0.95):
    """The studentised bootstrap over prompts, written out; CR2 as a matrix."""
    rng = np.random.default_rng(0)

    def mean_and_error(means, sizes):
        w = sizes / sizes.sum()
        mean = w @ means
        residuals = w * (means - mean) / np.sqrt(1 - w)
        return mean, np.sqrt(residuals @ residuals)

    mean, error = mean_and_error(means, sizes)
    ts = []
    for _ in range(999):
        drawn = rng.integers(0, len(means), len(means))
        again, its_error = mean_and_error(means[drawn], sizes[drawn])
        ts.append((again - mean) / its_error)
    low, high = np.quantile(ts, [(1 - confidence) / 2, (1 + confidence) / 2])
    return mean - high * error, mean - low * error


@pytest.mark.parametrize("images", [1, 4])
def test_each_bound_is_the_outer_one_of_students_and_of_the_bootstraps(images):
    before, after = np.zeros((30, images)), np.random.default_rng(0).lognormal(size=(30, images))
    means = after.mean(axis=1)

    interval = paired_difference(before.ravel(), after.ravel(), ids([images] * 30), confidence=0.9)

    symmetric, skewed = students(means, 0.9), bootstrap_t(means, np.full(30, images), 0.9)
    expected = min(symmetric[0], skewed[0]), max(symmetric[1], skewed[1])
    assert (interval.low, interval.high) == pytest.approx(expected)
    assert interval.high - interval.mean > interval.mean - interval.low, "the long tail is above"
    assert (interval.num_prompts, interval.num_images, interval.unit) == (30, 30 * images, "prompts")


def test_the_interval_of_unequal_prompts_agrees_with_a_hand_worked_one():
    # 20 prompts: one of 2 images, both 11.5; 19 of one image: ten 0, nine 1. S = 21, mean 32 / 21, w = 2/21 and 1/21.
    values = [11.5, 11.5, *[0] * 10, *[1] * 9]
    mean = 32 / 21
    squares = (2 * (11.5 - mean)) ** 2 / (19 / 21) + (10 * mean**2 + 9 * (1 - mean) ** 2) / (20 / 21)
    freedom = 21**2 / (4 + 19) - 1

    interval = mean_interval(values, ids([2, *[1] * 19]))

    students = stats.t.ppf(0.975, freedom) * np.sqrt(squares) / 21
    assert interval.mean == pytest.approx(mean)
    assert interval.mean - interval.low == pytest.approx(students)
    assert interval.high - interval.mean == pytest.approx(5 * students)  # many resamples without the one large prompt


def test_below_twenty_prompts_the_spread_between_prompts_is_left_out_and_the_unit_says_so():
    # Two prompts far apart, images at +-1 around each: s_g^2 = 2, v_g = (1/2)^2 * 2 / 2; 4 - 2 degrees.
    interval = mean_interval([99, 101, -101, -99], ids([2, 2]))

    assert interval.unit == "images"
    assert (interval.mean, interval.high) == pytest.approx((0, stats.t.ppf(0.975, 2) * np.sqrt(0.5)))


@pytest.mark.slow
@pytest.mark.parametrize("num_prompts", [20, 50, 200])
@pytest.mark.parametrize("equal", [True, False])
def test_nineteen_of_twenty_intervals_cover_the_mean_over_all_prompts(num_prompts, equal):
    rng = np.random.default_rng(num_prompts)
    sizes = np.full(num_prompts, 4) if equal else rng.integers(1, 9, num_prompts)
    prompt = np.repeat(np.arange(num_prompts), sizes)

    def draw():
        return 0.1 + rng.normal(0, 0.3, num_prompts)[prompt] + rng.normal(0, 0.5, len(prompt))

    assert 0.92 < coverage(draw, truth=0.1, prompt_ids=ids(sizes), replications=400) < 0.985


@pytest.mark.parametrize(
    ("sizes", "least"),
    [
        ([4] * 20, 0.91),
        ([1, 2, 3, 4, 5, 6, 7, 8] * 2 + [2, 4, 6, 8], 0.88),
        ([1] * 8 + [2] * 6 + [8] * 4 + [40] * 2, 0.83),
    ],
    ids=["equal", "unequal", "two prompts with two thirds of the images"],
)
def test_prompts_with_a_heavy_tail_are_covered_better_than_by_students_interval(sizes, least):
    # Log-normal levels (skewness 6). Over 2000 draws: 0.93, 0.91 and 0.88 where Student's covers 0.88, 0.85 and 0.83.
    rng = np.random.default_rng(len(sizes))
    prompt = np.repeat(np.arange(len(sizes)), sizes)

    def draw():
        return rng.lognormal(size=len(sizes))[prompt] + rng.normal(0, 0.5, len(prompt))

    rng_state = rng.bit_generator.state
    found = coverage(draw, truth=np.exp(0.5), prompt_ids=ids(sizes), replications=500)
    rng.bit_generator.state = rng_state
    assert found > least
    assert found > sum(students_covers(draw(), np.asarray(sizes), np.exp(0.5)) for _ in range(500)) / 500


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

    assert coverage(draw, truth=0, prompt_ids=ids([1] * 400), replications=100) < 0.7


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
