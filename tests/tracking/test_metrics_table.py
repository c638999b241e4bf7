from reward_finetuning.tracking.metrics_table import metrics_table, named

METRICS = {
    "eval/train/reward/before": 0.25,
    "eval/train/reward/mean": 0.5,
    "eval/train/reward/gain": 0.25,
    "eval/train/reward/gain_low": 0.125,
    "eval/train/reward/gain_high": 0.375,
    "eval/train/reward/win_rate": 0.75,
    "eval/train/colourfulness/gain": 0.0,
    "eval/train/kl/mean": 2.0,
    "eval/train/category/colour/reward/gain": 0.5,
    "eval/a/b/reward/mean": 1.0,
}


def test_reward_gain_and_kl_of_whole_prompt_sets_are_curves():
    assert set(named(METRICS)) == {
        "eval/train/reward/mean", "eval/train/reward/gain", "eval/train/reward/gain_low", "eval/train/reward/gain_high",
        "eval/train/kl/mean", "eval/a/b/reward/mean",
    }  # fmt: skip


def test_what_is_no_metric_of_an_evaluation_stays_a_curve():
    assert named({"reward/mean": 1.0, "evaluate/seconds": 2.0}) == {"reward/mean": 1.0, "evaluate/seconds": 2.0}


def test_the_table_has_every_value_once():
    table = metrics_table(METRICS)

    assert table["columns"] == [
        "prompt_set", "category", "measure", "before", "mean", "gain", "gain_low", "gain_high", "win_rate",
    ]  # fmt: skip
    assert ["train", "", "reward", 0.25, 0.5, 0.25, 0.125, 0.375, 0.75] in table["data"]
    assert ["train", "colour", "reward", None, None, 0.5, None, None, None] in table["data"]
    assert ["a/b", "", "reward", None, 1.0, None, None, None, None] in table["data"]
    assert sum(value is not None for row in table["data"] for value in row[3:]) == len(METRICS)
