import pytest

from reward_finetuning.report.comparison import compare
from reward_finetuning.report.stages import MAX_STAGES, stages


@pytest.fixture
def comparison(make_samples):
    before = [0.1 * (i % 5) for i in range(40)]
    after = [value + 0.2 + 0.01 * (i % 3) for i, value in enumerate(before)]
    return compare(make_samples(before), make_samples(after, epoch=3))


def curves(gains):
    """Of earlier epochs: epoch -> gain, each with an interval of +-0.05."""
    return {
        "eval/train/reward/gain": list(gains.items()),
        "eval/train/reward/gain_low": [(e, g - 0.05) for e, g in gains.items()],
        "eval/train/reward/gain_high": [(e, g + 0.05) for e, g in gains.items()],
    }


def test_every_evaluated_epoch_is_a_row_after_the_pretrained_model(comparison):
    rows = stages(comparison, curves({1: 0.02, 2: -0.1}), 3)

    assert [row.name for row in rows] == ["pretrained", "epoch 1", "epoch 2", "epoch 3"]
    assert [row.cells[0].direction for row in rows] == ["unsure", "unsure", "worse", "better"]
    assert rows[0].cells[0].mean.startswith("0.20")
    assert rows[1].cells[0].mean.startswith("0.22")
    assert rows[2].cells[0].change.startswith("−0.1")
    assert rows[3].cells[0].change.startswith("+0.2")


def test_the_newest_epoch_is_told_by_the_comparison_and_later_ones_are_left_out(comparison):
    rows = stages(comparison, curves({2: 0.0, 3: 0.9, 4: 0.9}), 3)

    assert [row.name for row in rows] == ["pretrained", "epoch 2", "epoch 3"]
    assert rows[-1].cells[0].change.startswith("+0.2")


def test_a_single_evaluation_needs_no_table(comparison):
    assert stages(comparison, {}, 3) == []


def test_of_many_epochs_the_newest_are_shown(comparison):
    rows = stages(comparison, curves(dict.fromkeys(range(1, 60), 0.0)), 60)

    assert len(rows) == 1 + MAX_STAGES
    assert rows[-1].name == "epoch 60"
