import json
from dataclasses import replace

import numpy as np
import pytest

from reward_finetuning.report.comparison import as_metrics, as_table, compare


def joined(one, other):
    """The images of both, one prompt set after the other."""
    fields = ("prompt_sets", "prompt_ids", "prompts", "categories", "image_indices")
    return replace(
        one,
        **{name: getattr(one, name) + getattr(other, name) for name in fields},
        rewards={name: np.concatenate([one.rewards[name], other.rewards[name]]) for name in one.rewards},
        images=np.concatenate([one.images, other.images]),
    )


def rewards(mean, *, seed=0, size=40):
    return np.random.default_rng(seed).normal(mean, 0.1, size)


def test_a_row_holds_both_means_the_gain_and_the_wins(make_samples):
    comparison = compare(make_samples([0, 1, 2, 3]), make_samples([1, 1, 1, 7], epoch=5))

    (row,) = comparison.rows
    assert (row.prompt_set, row.category, row.reward) == ("train", None, "reward")
    assert (row.before, row.after, row.gain.mean, row.win_rate) == (1.5, 2.5, 1.0, 0.625)


def test_images_are_paired_by_what_they_are_not_by_where_they_stand(make_samples, permute):
    before = make_samples(rewards(0), images_per_prompt=4)
    after = make_samples(rewards(0.2, seed=1), images_per_prompt=4, epoch=1)
    order = np.random.default_rng(0).permutation(40)

    assert compare(before, permute(after, order)) == compare(before, after)


def test_the_verdict_names_what_is_surely_better_and_what_is_surely_worse(make_samples):
    before = make_samples(rewards(0), scorers={"beauty": rewards(5, seed=2), "colour": rewards(1, seed=3)})
    after = make_samples(
        rewards(1, seed=1), epoch=30, scorers={"beauty": rewards(4, seed=4), "colour": rewards(1, seed=3)}
    )

    verdict = compare(before, after).verdict

    assert verdict == "Epoch 30 is better than pretrained on reward and worse on beauty (95 % confidence each)."


def test_the_verdict_says_on_which_prompt_sets(make_samples):
    before = joined(make_samples(rewards(0)), make_samples(rewards(0), prompt_set="heldout"))
    after = joined(make_samples(rewards(1, seed=1)), make_samples(rewards(-1, seed=1), prompt_set="heldout"))

    verdict = compare(before, replace(after, epoch=3)).verdict

    assert verdict == (
        "Epoch 3 is better than pretrained on reward (train) and worse on reward (heldout) (95 % confidence each)."
    )


def test_equal_policies_have_no_sure_difference(make_samples):
    comparison = compare(make_samples(rewards(0)), make_samples(rewards(0), epoch=2))

    assert comparison.verdict == "No significant difference between epoch 2 and pretrained on train."
    assert comparison.rows[0].direction == "unsure"


@pytest.mark.parametrize(("num_images", "direction"), [(5, "unsure"), (6, "better")])
def test_a_unanimous_handful_of_images_is_not_sure(make_samples, num_images, direction):
    # A reward of 0 or 1 that always rises has an interval of no width, whatever the number of images.
    comparison = compare(make_samples([0] * num_images), make_samples([1] * num_images, epoch=1))

    assert comparison.rows[0].direction == direction


def test_two_policies_of_one_epoch_are_told_apart_by_their_digests(make_samples):
    comparison = compare(
        make_samples([0], epoch=4, policy="aaaaaaaaaaaa"), make_samples([0], epoch=4, policy="bbbbbbbbbbbb")
    )

    assert (comparison.before, comparison.after) == ("epoch 4 (aaaaaaaa)", "epoch 4 (bbbbbbbb)")


def test_categories_get_rows_of_their_own_unless_there_is_only_one(make_samples):
    two = ["colour"] * 20 + ["count"] * 20

    split = compare(make_samples(rewards(0), categories=two), make_samples(rewards(1), categories=two, epoch=1))
    whole = compare(make_samples(rewards(0)), make_samples(rewards(1), epoch=1))

    assert [row.category for row in split.rows] == [None, "colour", "count"]
    assert [row.gain.num_images for row in split.rows] == [40, 20, 20]
    assert [row.category for row in whole.rows] == [None]


def test_metrics_are_flat_named_by_set_and_reward_and_fit_into_json(make_samples):
    comparison = compare(make_samples(rewards(0)), make_samples(rewards(1, seed=1), epoch=1))
    gain = comparison.rows[0].gain

    metrics = as_metrics(comparison)

    assert metrics.keys() == {
        f"eval/train/reward/{name}" for name in ("before", "mean", "gain", "gain_low", "gain_high", "win_rate")
    }
    assert metrics["eval/train/reward/mean"] == comparison.rows[0].after
    assert metrics["eval/train/reward/gain_low"] == gain.low < gain.high == metrics["eval/train/reward/gain_high"]
    json.dumps(metrics, allow_nan=False)


def test_unbounded_intervals_are_left_out_of_the_metrics(make_samples):
    metrics = as_metrics(compare(make_samples([0]), make_samples([1], epoch=1)))

    assert metrics["eval/train/reward/gain"] == 1
    assert "eval/train/reward/gain_low" not in metrics


def test_categories_that_mlflow_cannot_name_stay_apart(make_samples):
    categories = ["a/b", "a:b", "../x", "", "<b>", "c" * 300]
    before, after = (make_samples([0] * 6, categories=categories, epoch=epoch) for epoch in (0, 1))

    metrics = as_metrics(compare(before, after))
    names = [name for name in metrics if name.endswith("reward/gain")]

    assert len(names) == 7
    assert all(len(name) < 250 and ".." not in name and name.isascii() for name in names)
    assert all(name.count("/") == 5 for name in names if "/category/" in name)


def test_the_terminals_table_has_a_heading_and_one_row_each_of_as_many_cells(make_samples):
    heading, *rows = as_table(compare(make_samples(rewards(0)), make_samples(rewards(-1), epoch=1)))

    assert len(rows) == 1
    assert len(heading) == len(rows[0])
    assert rows[0][5].startswith("−1.0")
    assert rows[0][-1] == "worse"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (
            {"prompt_ids": ("p0000", "p0009")},
            r"1 images are only in before, such as \('train', 'p0001', 0\); 1 .*'p0009'",
        ),
        (
            {"prompt_ids": ("p0000", "p0000")},
            "after must contain each .* once, got .'train', 'p0000', 0. more than once",
        ),
        ({"prompts": ("a picture of p0000", "a cat")}, "the prompt of image .* got 'a picture of p0001' and 'a cat'"),
        ({"categories": ("", "count")}, "the category of image .* got '' and 'count'"),
        ({"rewards": {"other": np.zeros(2)}}, "have the same rewards, got reward and other"),
        ({"rewards": {"reward": np.zeros(3)}}, r"after.rewards\['reward'\] must be \[S=2\], got shape \[3\]"),
    ],
)
def test_policies_that_cannot_be_paired_are_refused_with_what_differs(make_samples, change, said):
    before = make_samples([0, 1])

    with pytest.raises(ValueError, match=said):
        compare(before, replace(before, epoch=1, **change))


def test_a_record_without_the_combined_reward_is_refused(make_samples):
    only_scorers = replace(make_samples([0, 1]), rewards={"beauty": np.zeros(2)})

    with pytest.raises(ValueError, match="must be in column 'reward', got only beauty"):
        compare(only_scorers, only_scorers)


def test_a_record_without_images_is_refused(make_samples):
    with pytest.raises(ValueError, match="before contains no images"):
        compare(make_samples([]), make_samples([]))
