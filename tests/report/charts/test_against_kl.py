import pytest

from reward_finetuning.report.charts.against_kl import draw_against_kl
from reward_finetuning.report.comparison import compare


@pytest.fixture
def two(make_samples):
    """Rewards of 0 and 1 in turn, whose standard deviation is 0.5; the second reward falls."""
    before = [float(i % 2) for i in range(40)]
    pretrained = make_samples(before, scorers={"colour": before})
    after = make_samples([r + 0.5 for r in before], scorers={"colour": [r - 1 for r in before]}, epoch=3)
    return pretrained, after


def drawn(two, history, epoch=3):
    return draw_against_kl(compare(*two), two[0], history, epoch=epoch, trained={"shapes"})


def test_training_images_are_shown_where_few_policies_were_evaluated(two):
    history = {
        "sample/kl_to_reference": [(1, 0.0), (2, 0.02), (3, 0.01)],
        "reward/mean": [(1, 1.0), (2, 2.0), (3, 1.5)],
        "reward/std": [(1, 0.5), (2, 9.0), (3, 9.0)],
        "reward/colour/mean": [(1, 1.0), (2, 0.0), (3, 0.5)],
        "reward/colour/std": [(1, 0.25), (2, 9.0), (3, 9.0)],
        "reward/shapes/mean": [(1, 1.0), (2, 2.0), (3, 1.5)],
    }

    (figure,) = drawn(two, history)

    assert figure.title == "training images"
    assert [key.label for key in figure.keys] == ["reward, trained", "colour, monitored"]
    # By KL, in units of the first epoch's spread: (2 - 1) / 0.5 and (0 - 1) / 0.25 at the largest KL.
    assert "reward, trained: +2.00 standard deviations at KL 0.02000" in figure.description
    assert (
        "colour, monitored: −4.00 standard deviations at KL 0.02000, at most 0.00 at KL 0.00000" in figure.description
    )


def test_evaluated_policies_stand_at_the_kl_of_the_images_that_they_drew_next(two):
    history = {
        "sample/kl_to_reference": [(e, 0.01 * (e - 1)) for e in range(1, 6)],
        "eval/train/reward/gain": [(1, 0.1), (2, 0.2), (9, 7.0)],
        "eval/train/colour/gain": [(1, 0.0), (2, -0.5)],
    }

    (figure,) = drawn(two, history)

    assert figure.title == "train, evaluated policies"
    assert "reward, trained: +1.00 standard deviations at KL 0.03000" in figure.description
    assert "colour, monitored: −2.00 standard deviations at KL 0.03000" in figure.description


def test_a_newest_policy_without_a_kl_is_said_to_be_missing(two):
    history = {
        "sample/kl_to_reference": [(e, 0.01 * (e - 1)) for e in range(1, 5)],
        "eval/train/reward/gain": [(e, 0.1 * e) for e in range(1, 4)],
    }

    (figure,) = drawn(two, history, epoch=4)

    assert figure.title.startswith("train, evaluated policies without the newest")


def test_series_differ_by_dashes_and_marks_not_by_colour_alone(two):
    history = {
        "sample/kl_to_reference": [(e, 0.01 * e) for e in range(1, 5)],
        **{
            f"{name}/{part}": [(e, 0.1 * e) for e in range(1, 5)]
            for name in ("reward", "reward/c")
            for part in ("mean",)
        },
        **{f"{name}/std": [(1, 1.0)] for name in ("reward", "reward/c")},
    }
    history["reward/c/mean"] = [(e, -0.1 * e) for e in range(1, 5)]

    (figure,) = drawn(two, history)

    assert "stroke-dasharray" in figure.svg
    first, second = ({*key.svg.split('"')} for key in figure.keys)
    assert any("stroke-dasharray" in part for part in second - first)


def test_without_a_kl_nothing_is_drawn(two):
    assert drawn(two, {"reward/mean": [(1, 0.0), (2, 1.0)]}) == []
