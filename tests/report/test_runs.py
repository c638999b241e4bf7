from dataclasses import replace

import numpy as np
import pytest

from reward_finetuning.report.runs import EvaluatedRun, compare_runs
from reward_finetuning.report.runs_page import render_runs, runs_table


@pytest.fixture
def run(make_samples):
    """A run whose reward rose by `gain`; the pretrained model's rewards are the same in every run."""
    rewards = np.random.default_rng(0).normal(0, 0.1, 40)

    def make(name, gain, *, weights=None, seed=0, scorers=None, epoch=5):
        before = make_samples(rewards, scorers=dict.fromkeys(scorers or {}, rewards))
        after = make_samples(
            rewards + gain, scorers={key: rewards + g for key, g in (scorers or {}).items()}, epoch=epoch
        )
        return EvaluatedRun(name, before, after, weights or {"shapes": 1.0}, seed)

    return make


def test_each_run_is_held_against_its_pretrained_model_and_against_the_first(run):
    comparison = compare_runs([run("a", 0.5), run("b", 0.75), run("c", 0.25)])

    key = ("train", "reward")
    assert comparison.rows == (key,)
    assert [c.against_pretrained[key].gain.mean for c in comparison.columns] == pytest.approx([0.5, 0.75, 0.25])
    assert [c.against_first[key].gain.mean for c in comparison.columns[1:]] == pytest.approx([0.25, -0.25])
    assert comparison.verdicts == [
        "b is better than a on reward, sure to 95 %.",
        "c is worse than a on reward, sure to 95 %.",
    ]


def test_other_noise_is_no_pair_and_the_reason_is_said(run):
    comparison = compare_runs([run("a", 0.5), run("b", 0.75, seed=1)])

    assert comparison.columns[1].against_first == {}
    assert comparison.columns[1].unpaired == "its noise has seed 1, that of a has 0"
    assert comparison.verdicts == [
        "a: epoch 5 is better than pretrained on reward, sure to 95 %.",
        "b: epoch 5 is better than pretrained on reward, sure to 95 %.",
    ]


def test_other_prompts_are_no_pair(run):
    other = run("b", 0.5)
    renamed = tuple(f"q{i}" for i in range(40))
    other = replace(
        other, before=replace(other.before, prompt_ids=renamed), after=replace(other.after, prompt_ids=renamed)
    )

    column = compare_runs([run("a", 0.5), other]).columns[1]

    assert "must hold the same (prompt set, prompt id, image index)" in column.unpaired
    assert column.against_pretrained


def test_runs_trained_on_different_rewards_are_compared_scorer_by_scorer(run):
    # In run a, shapes is the combined reward to the letter and has no column of its own.
    one = run("a", 0.5, weights={"shapes": 1.0, "colour": 0.0}, scorers={"colour": 0.0})
    other = run("b", 9.0, weights={"shapes": 1.0, "colour": 2.0}, scorers={"shapes": 0.25, "colour": 1.0})

    comparison = compare_runs([one, other])

    assert comparison.rows == (("train", "colour"), ("train", "shapes"))
    gains = [comparison.columns[1].against_first[key].gain.mean for key in comparison.rows]
    assert gains == pytest.approx([1.0, -0.25])


def test_the_terminals_table_has_a_column_a_run_and_marks_findings(run):
    heading, row = runs_table(compare_runs([run("a", 0.0), run("b", 0.5)]))

    assert heading == ("prompt set", "reward", "a", "b", "b − a")
    assert row[:2] == ("train", "reward")
    assert not row[2].endswith("*)")
    assert row[3].endswith("(+0.500*)")
    assert row[4] == "+0.500*"


def test_names_and_curves_stand_on_the_page_as_text(run):
    hostile = "<script>alert(1)</script>"
    curves = {hostile: {"reward/mean": [(1, 0.0), (2, 1.0)]}, "b": {"reward/mean": []}}

    page = render_runs(compare_runs([run(hostile, 0.5), run("b", 0.75)]), curves)

    assert hostile not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; ends at 1.0000" in page
    assert page.count("<script>") == 1
