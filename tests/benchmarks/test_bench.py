"""The comparison with TRL: its goals and page, its workers, and our side of it on small jobs."""

import importlib
import json
import sys
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[2] / "benchmarks" / "cpu"


@pytest.fixture
def module(monkeypatch):
    """Imports a module of benchmarks/cpu."""
    monkeypatch.syspath_prepend(str(FOLDER))
    yield importlib.import_module
    for name in [name for name, module in sys.modules.items() if str(FOLDER) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


def costs(*seconds):
    return [{"cpu": value, "wall": 2 * value} for value in seconds]


def test_a_ratio_is_that_of_medians_with_the_range_of_single_rounds(module):
    ratio = module("goals").ratio(costs(4.0, 6.0, 5.0), costs(2.0, 2.0, 4.0))

    assert (ratio.middle, ratio.lowest, ratio.highest) == (2.5, 1.25, 3.0)


def test_each_side_has_the_batch_that_costs_it_least(module):
    arms = {"ours, 8": costs(3.0), "ours, 32": costs(1.0), "ours, no-reference, 32": costs(0.5), "TRL, 8": costs(2.0)}

    assert module("goals").best_batch(arms, "ours") == 32
    assert module("goals").best_batch(arms, "TRL") == 8


def test_the_page_says_of_each_goal_whether_it_is_met_or_was_not_measured(module):
    sampling = {"ours, 8": costs(1.0, 1.0), "TRL, 8": costs(1.2, 1.4), "diffusers, 8": costs(1.0, 1.0)}
    commands = {"rft --help": [0.9, 0.7, 0.8]}
    machine = {"hardware": "2-cores", "date": "2026-11-27", "load": 0.1, "ours": {"torch": "2"}, "TRL": {"trl": "0"}}

    page = module("comparison_page").page(
        {"machine": machine, "quick": False, "sampling": sampling, "commands": commands}
    )

    assert (
        "| Sampling as shipped for DDPO, 8 images per batch, speed against TRL | ≥ 1.05 | 1.30 (1.20 to 1.40) | yes |"
        in page
    )
    assert "| `rft --help`, CPU seconds | ≤ 0.5 | 0.8 | **no** |" in page
    assert "| Whole DDPO epoch, 1 update, best batches, speed against TRL | ≥ 1.1 | not measured |  |" in page


def test_a_worker_that_ends_is_named_with_the_file_of_its_output(module, tmp_path):
    program = tmp_path / "python"
    program.write_text("#!/bin/sh\nread line\nexit 7\n")
    program.chmod(0o755)
    job = module("jobs").Job("sampling")

    with (
        module("workers").worker(program, "trl_side", tmp_path, tmp_path / "files", tmp_path / "log") as trl,
        pytest.raises(RuntimeError, match=r"trl_side .*log\) ended with exit code 7 in Job\(kind='sampling'"),
    ):
        trl.measure(job)


@pytest.mark.slow
def test_our_side_does_a_job_of_each_kind_and_training_repeats_from_the_same_weights(module, tmp_path):
    ours, jobs = module("our_side"), module("jobs")
    side = ours.OurSide("shapes", tmp_path)
    small = {"images": 8, "sample_batch": 8, "train_batch": 8}
    job = jobs.Job("training", **small, updates=2)
    train = side.prepare(job)
    trained = side.session(job).learner.policy.trainable()
    before = {name: weight.clone() for name, weight in trained.items()}

    train()

    assert all(weight.equal(before[name]) for name, weight in trained.items())
    for variant in ("", "stock", "all-references"):
        side.prepare(jobs.Job("sampling", **small, variant=variant))()
    epoch = side.prepare(jobs.Job("epoch", **small, variant="prdp"))
    epoch()
    epoch()
    side.prepare(jobs.Job("network", **small, updates=2))()
    share = side.prepare(jobs.Job("network_share", **small))()["share"]
    assert 0.5 < share < 1.0
    assert json.loads((tmp_path / "runs" / "epoch-8-8-8-1-prdp" / "latest.json").read_text())["epoch"] == 2
