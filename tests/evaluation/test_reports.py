"""What the pages of the services show of an evaluation."""

from reward_finetuning.evaluation.reports import page_metrics

STATISTICS = ("before", "mean", "gain", "gain_low", "gain_high", "win_rate")


def metrics_of(sets, rewards):
    numbers = {f"eval/{each}/{reward}/{name}": 1.0 for each in sets for reward in rewards for name in STATISTICS}
    return numbers | {f"eval/{each}/category/colour/{reward}/gain": 2.0 for each in sets for reward in rewards}


def test_there_are_at_most_twelve_and_the_trained_reward_comes_first_in_the_order_of_the_alphabet():
    shown = page_metrics(metrics_of(["heldout", "train"], ["colourfulness", "diversity", "kl", "reward", "shapes"]))

    names = sorted(shown)
    assert len(names) == 12
    assert names[:4] == [
        "01 reward gain (heldout)",
        "02 reward gain low (heldout)",
        "03 reward before (heldout)",
        "04 reward mean (heldout)",
    ]
    assert names[8:10] == ["09 colourfulness gain (heldout)", "10 colourfulness gain (train)"]
    assert 2.0 not in shown.values()


def test_the_pretrained_model_alone_has_means_only():
    shown = page_metrics({"eval/train/reward/mean": 0.5, "eval/train/shapes/mean": 0.25})

    assert shown == {"01 reward mean (train)": 0.5}


def test_policies_are_told_apart():
    shown = page_metrics({"eval/other/two/reward/gain": 0.5})

    assert shown == {"01 reward gain (other/two)": 0.5}
