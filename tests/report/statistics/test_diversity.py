import itertools

import numpy as np
import pytest

from reward_finetuning.report.comparison import compare
from reward_finetuning.report.statistics.diversity import diversity, pixel_features
from reward_finetuning.report.statistics.intervals import mean_interval


def features(num, *, seed=0, size=6):
    return np.random.default_rng(seed).normal(size=(num, size)).astype(np.float32)


def picture(colour, side=32):
    return np.full((side, side, 3), colour, dtype=np.uint8)


def test_the_mean_over_a_prompts_images_is_the_mean_distance_of_its_pairs():
    rows = features(5)

    values = diversity(rows, ["a"] * 5)

    expected = np.mean([np.linalg.norm(rows[i] - rows[j]) for i, j in itertools.combinations(range(5), 2)])
    assert values.mean() == pytest.approx(expected)


def test_images_of_other_prompts_do_not_count():
    rows = features(6)

    both = diversity(rows, ["a", "b"] * 3)

    assert both[::2] == pytest.approx(diversity(rows[::2], ["a"] * 3))
    assert both[1::2] == pytest.approx(diversity(rows[1::2], ["b"] * 3))


def test_pseudo_values_are_those_of_the_jackknife():
    rows = features(6)

    def mean_distance(kept):
        return np.mean([np.linalg.norm(rows[i] - rows[j]) for i, j in itertools.combinations(kept, 2)])

    whole = mean_distance(range(6))
    left_out = [6 * whole - 5 * mean_distance([j for j in range(6) if j != i]) for i in range(6)]

    assert diversity(rows, ["a"] * 6) == pytest.approx(left_out)


def test_nineteen_of_twenty_intervals_cover_the_expected_distance_of_one_prompts_images():
    # Each pair counts for two images, so the plain means of distances would claim twice the certainty.
    rng = np.random.default_rng(1)
    truth = np.mean([np.linalg.norm(rng.normal(size=8) - rng.normal(size=8)) for _ in range(200_000)])

    def covers():
        interval = mean_interval(diversity(rng.normal(size=(32, 8)), ["a"] * 32), ["a"] * 32)
        return interval.low <= truth <= interval.high

    assert 0.93 < np.mean([covers() for _ in range(2000)]) < 0.975


def test_many_images_of_one_prompt_are_measured_in_blocks(monkeypatch):
    rows = features(40)
    whole = diversity(rows, ["a"] * 40)

    monkeypatch.setattr("reward_finetuning.report.statistics.diversity._BLOCK", 7)

    assert diversity(rows, ["a"] * 40) == pytest.approx(whole)


def test_a_single_image_has_no_diversity():
    assert diversity(features(3), ["a", "b", "b"]) is None


@pytest.mark.parametrize("side", [32, 100, 512])
def test_equal_pictures_are_no_distance_apart_and_black_and_white_one(side):
    black, white = pixel_features(np.stack([picture(0, side), picture(255, side)]))

    assert np.linalg.norm(white - black) == pytest.approx(1)
    assert np.linalg.norm(black - pixel_features(picture(0, side)[None])[0]) == 0


def test_shapes_of_one_colour_differ_by_their_edges_and_the_size_of_the_picture_hardly_counts():
    across, down = np.full((64, 64, 3), 255, np.uint8), np.full((64, 64, 3), 255, np.uint8)
    across[28:36] = 0
    down[:, 28:36] = 0

    a, d = pixel_features(np.stack([across, down]))
    (large,) = pixel_features(across.repeat(4, axis=0).repeat(4, axis=1)[None])

    assert np.linalg.norm(a - d) > 0.5
    assert np.linalg.norm(a - large) < 1e-3


def measured(make_samples, values, epoch, images_per_prompt):
    return make_samples(
        np.zeros(len(values)), epoch=epoch, images_per_prompt=images_per_prompt, measures={"diversity": values}
    )


def test_less_diversity_is_worse_and_is_said(make_samples):
    values = np.random.default_rng(0).normal(1, 0.1, 90)

    comparison = compare(measured(make_samples, values, 0, 3), measured(make_samples, values - 0.5, 4, 3))

    (_, row) = comparison.rows
    assert (row.reward, row.direction) == ("diversity", "worse")
    assert (row.gain.mean, row.win_rate) == (pytest.approx(-0.5), 0.0)
    assert comparison.verdict == "Epoch 4 is worse than pretrained on diversity (95 % confidence)."


def test_of_two_images_a_prompt_the_one_distance_counts_once(make_samples):
    # Below 20 prompts intervals are over images; two images have no spread of their own, and would seem certain.
    before = np.zeros(12)
    after = np.repeat([0.1, -0.2, 0.3, 0.0, 0.2, -0.1], 2)

    comparison = compare(measured(make_samples, before, 0, 2), measured(make_samples, after, 1, 2))

    row = comparison.rows[1]
    assert row.gain.num_images == 6
    assert row.gain.low < 0 < row.gain.high


def test_the_kl_is_shown_and_never_judged(make_samples):
    def samples(kl, epoch):
        return make_samples(np.zeros(40), epoch=epoch, measures={"kl": np.full(40, kl)})

    comparison = compare(samples(0.0, 0), samples(0.25, 2))

    row = comparison.rows[1]
    assert (row.reward, row.after, row.direction) == ("kl", 0.25, "")
    assert comparison.verdict == "No significant difference between epoch 2 and pretrained on train."
