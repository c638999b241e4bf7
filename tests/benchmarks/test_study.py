"""The study's plan and figures: which cell is selected, what is paired, what a missing seed leaves open."""

import json
import sys
from pathlib import Path

import numpy as np
import pytest

STUDY = Path(__file__).parents[2] / "benchmarks" / "study"


@pytest.fixture(autouse=True)
def _importable(monkeypatch):
    monkeypatch.syspath_prepend(str(STUDY))
    for name in ("plan", "results", "judge", "offsets", "run"):
        sys.modules.pop(name, None)


def write(folder, arm, seed, gain):
    evaluations = {
        f"eval/train/reward/gain{part}": [[1, gain + d]] for part, d in (("", 0), ("_low", -1), ("_high", 1))
    }
    settings = {"reward": {"weights": {"shapes": 1.0, "colourfulness": 0.0}}}
    content = {
        "claim": "b",
        "arm": arm,
        "seed": seed,
        "error": "",
        "seconds": 1,
        "cpu_seconds": 1,
        "settings": settings,
    }
    path = folder / "b" / f"{arm}-seed{seed}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(content | {"curves": {}, "evaluations": evaluations}))


def test_two_arms_are_compared_seed_by_seed_and_a_missing_seed_leaves_the_verdict_open(tmp_path):
    from judge import judge
    from results import difference, read_results

    for seed, level in enumerate([0.1, 0.3, 0.5]):
        write(tmp_path, "prdp-small", seed, level + 0.02)
        write(tmp_path, "ddpo-small", seed, level)

    three, four = (read_results(tmp_path, dict.fromkeys(arms, n)) for n in (3, 4) for arms in [ARMS])

    for reward in ("reward", "shapes"):  # a scorer that is the whole reward
        gap = difference(three["b"]["prdp-small"], three["b"]["ddpo-small"], reward)
        assert (gap.mean, gap.low, gap.high) == pytest.approx((0.02, 0.02, 0.02))
    assert [finding.holds for finding in judge("b", three)] == [True]
    assert [finding.holds for finding in judge("b", four)] == [None]


def test_a_claim_over_kinds_says_nothing_while_a_kind_has_no_result(tmp_path):
    from judge import judge
    from results import read_results

    arms = [("b", f"{method}-{kind}") for method in ("online", "offline") for kind in ("count", "colour")]
    for _, arm in arms:
        write(tmp_path, arm, 1, 0.1)

    results = read_results(tmp_path, dict.fromkeys(arms, 1))

    assert judge("d", {"d": results["b"]}) == []
    assert judge("d", {"d": {}}) == []


ARMS = [("b", "prdp-small"), ("b", "ddpo-small")]


def test_a_prompts_level_is_standard_normal_over_prompts_and_the_same_for_its_images():
    from offsets import level

    values = level(np.zeros((4000, 1, 1, 3), np.uint8), [f"prompt {n // 2}" for n in range(4000)])

    assert values[0::2] == values[1::2]
    assert np.mean(values) == pytest.approx(0, abs=0.07)
    assert np.std(values) == pytest.approx(1, abs=0.05)


def test_every_arm_of_the_study_is_a_valid_run_once_its_grid_is_done(monkeypatch):
    import plan

    study = plan.read_study()
    monkeypatch.setattr(plan, "selection", lambda study, method, among=None: plan.grid_of(study, method)[0])

    found = plan.tasks(study)

    assert len({task.result for task in found}) == len(found)
    assert {task.claim for task in found} == {*study["claims"], plan.TUNING}
    for task in found:
        task.config()
    assert all(task.config().num_images == 256 for task in found if task.claim in "abo")


def test_two_arms_that_are_one_run_share_its_result(tmp_path, monkeypatch):
    import run
    from plan import Task

    written = []

    def result_in(self, folder):
        return tmp_path / self.claim / f"{self.arm}-seed{self.seed}.json"

    def run_task(task):
        written.append(task.arm)
        task.result.parent.mkdir(exist_ok=True)
        task.result.write_text(json.dumps({"claim": task.claim, "arm": task.arm}))
        return 0

    arms = [
        ("a", "first", 1, {"x": 1}),
        ("b", "same", 1, {"x": 1}),
        ("b", "seed", 2, {"x": 1}),
        ("b", "waits", 1, None),
    ]
    monkeypatch.setattr(Task, "result_in", result_in)
    monkeypatch.setattr(run, "run_task", run_task)
    monkeypatch.setattr(run, "tasks", lambda study: [Task(*arm) for arm in arms])

    run._Queue(None).work(deadline=float("inf"))

    assert written == ["first", "seed"]
    shared = json.loads((tmp_path / "b" / "same-seed1.json").read_text())
    assert shared == {"claim": "b", "arm": "same", "same_run_as": "a/first-seed1.json"}
