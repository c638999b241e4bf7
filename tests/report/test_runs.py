import re
from dataclasses import replace

import numpy as np
import pytest

from reward_finetuning.report.runs import EvaluatedRun, compare_runs, runs_metrics
from reward_finetuning.report.runs_page import policies_table, render_runs, runs_table


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
        "b is better than a on reward (95 % confidence).",
        "c is worse than a on reward (95 % confidence).",
    ]


def test_other_noise_is_no_pair_and_the_reason_is_said(run):
    comparison = compare_runs([run("a", 0.5), run("b", 0.75, seed=1)])

    assert comparison.columns[1].against_first == {}
    assert comparison.columns[1].unpaired == "its noise has seed 1, and that of a has seed 0"
    assert comparison.verdicts == [
        "a: epoch 5 is better than pretrained on reward (95 % confidence).",
        "b: epoch 5 is better than pretrained on reward (95 % confidence).",
    ]


def test_other_prompts_are_no_pair(run):
    other = run("b", 0.5)
    renamed = tuple(f"q{i}" for i in range(40))
    other = replace(
        other, before=replace(other.before, prompt_ids=renamed), after=replace(other.after, prompt_ids=renamed)
    )

    column = compare_runs([run("a", 0.5), other]).columns[1]

    assert "must contain the same (prompt set, prompt id, image index)" in column.unpaired
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

    runs = [run(hostile, 0.5), run("b", 0.75)]
    page = render_runs(runs, compare_runs(runs), curves)

    assert hostile not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt; ends at 1.0000" in page
    assert page.count("<script>") == 1


def alone(run, name, gain, **options):
    """A policy of an evaluation of its own: held against the first alone."""
    return replace(run(name, gain, **options), before=None)


def test_policies_without_a_pretrained_model_are_held_against_the_first_alone(run):
    comparison = compare_runs([alone(run, "base", 0.0, epoch=0), alone(run, "a", 0.5), alone(run, "b", -0.5)])

    key = ("train", "reward")
    means = [column.means[key] for column in comparison.columns]
    assert means[1] - means[0] == pytest.approx(0.5)
    assert all(not column.against_pretrained for column in comparison.columns)
    assert comparison.verdicts == [
        "a is better than base on reward (95 % confidence).",
        "b is worse than base on reward (95 % confidence).",
    ]
    assert runs_metrics(comparison)["eval/b/train/reward/gain_high"] < 0
    _, base, *others = policies_table(comparison)
    assert base[2:] == ("base", base[3], "", "", "")
    assert [row[-1] for row in others] == ["better", "worse"]


def with_measures(evaluated, diversity, kl):
    measures = {"diversity": np.full(40, diversity), "kl": np.full(40, kl)}
    return replace(evaluated, after=replace(evaluated.after, measures=measures, kl=np.full((40, 2), kl / 2)))


def test_measures_stand_below_the_rewards_with_their_differences(run):
    runs = [
        with_measures(alone(run, "base", 0.0, epoch=0), 1.0, 0.0),
        with_measures(alone(run, "a", 0.5), 0.75, 0.25),
    ]

    comparison = compare_runs(runs)
    page = render_runs(runs, comparison, {})

    assert [reward for _, reward in comparison.rows] == ["reward", "diversity", "kl"]
    assert comparison.verdicts == ["a is better than base on reward and worse on diversity (95 % confidence each)."]
    assert comparison.columns[1].against_first["train", "kl"].direction == ""
    assert "KL by denoising step, train. a: 0.25 in total" in page
    assert "base: " not in page  # the pretrained model's KL is zero, and no line


def prompts_of_strips(page):
    return re.findall(r'<article class="strip">\n<p class="prompt" dir="auto">(.*?)</p>', page)


def test_pictures_stand_side_by_side_the_largest_disagreement_of_each_prompt_first(make_samples):
    def policy(name, rewards, shade):
        pictures = np.full((4, 4, 4, 3), shade, dtype=np.uint8)
        samples = make_samples(rewards, images_per_prompt=2, images=pictures, prompts=["p", "p", "q", "q"])
        return EvaluatedRun(name, None, samples, {"shapes": 1.0}, 0)

    runs = [policy("a", [0, 0, 0, 0], 10), policy("b", [0.1, 0.2, 0.5, 0.3], 200)]

    page = render_runs(runs, compare_runs(runs), {})

    assert prompts_of_strips(page) == ["q", "p", "q", "p"]
    assert page.count('<img src="data:image/png') == 8
    first = page[page.index('<article class="strip">') :]
    assert first.index("<bdi>a</bdi> <b>0.000</b>") < first.index("<bdi>b</bdi> <b>0.500</b>")


def test_trained_runs_show_the_pretrained_models_pictures_too_and_those_of_other_noise_are_left_out(run):
    runs = [run("a", 0.5), run("b", 0.75), run("c", 0.25, seed=1)]

    page = render_runs(runs, compare_runs(runs), {})

    strip = page[page.index('<article class="strip">') : page.index("</article>")]
    assert re.findall("<figcaption><bdi>(.*?)</bdi>", strip) == ["pretrained", "a", "b"]


def test_a_page_of_many_large_pictures_and_long_hostile_prompts_stays_below_two_megabytes(make_samples):
    noise = np.random.default_rng(0).integers(0, 256, (1, 512, 512, 3), dtype=np.uint8)
    images = np.broadcast_to(noise, (100, 512, 512, 3))
    prompts = ["<script>alert(1)</script>" * 400] * 100

    def policy(name):
        return EvaluatedRun(name, None, make_samples([0] * 100, images=images, prompts=prompts), {"shapes": 1.0}, 0)

    runs = [policy(name) for name in "abcdefgh"]
    page = render_runs(runs, compare_runs(runs), {})

    assert len(page.encode()) < 2_000_000
    assert len(prompts_of_strips(page)) >= 5
    assert page.count("<script>") == 1


def test_categories_have_their_differences_against_the_first(run):
    def in_categories(evaluated):
        return replace(evaluated, after=replace(evaluated.after, categories=("colour",) * 20 + ("<b>count",) * 20))

    def gained(evaluated, first_half):
        changed = evaluated.after.rewards["reward"] + np.repeat([first_half, 0.0], 20)
        return replace(evaluated, after=replace(evaluated.after, rewards={"reward": changed}))

    runs = [in_categories(alone(run, "base", 0.0)), gained(in_categories(alone(run, "a", 0.0)), 0.5)]
    comparison = compare_runs(runs)
    page = render_runs(runs, comparison, {})

    row = comparison.columns[1].by_category["train", "reward", "colour"]
    assert (row.direction, row.gain.num_images) == ("better", 20)
    assert comparison.columns[1].by_category["train", "reward", "<b>count"].direction == "unsure"
    assert runs_metrics(comparison)["eval/a/train/category/colour/reward/gain"] == pytest.approx(0.5)
    assert "reward by category" in page
    assert "&lt;b&gt;count" in page
    whole = [alone(run, "x", 0.0), alone(run, "y", 1.0)]
    assert "by category" not in render_runs(whole, compare_runs(whole), {})
