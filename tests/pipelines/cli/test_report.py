"""`rft report` as its user meets it."""

import os
import subprocess
import sys

import numpy as np
import pytest
import yaml

from reward_finetuning.evaluation.reports import newest_report, settings_digest
from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.artifacts.evaluations import Part, write_evaluation, write_pictures

pytestmark = pytest.mark.slow

QUIET = {"tracking": {"enabled": False}}


@pytest.fixture
def begin(run_config, tmp_path):
    """Begins a run, and writes its run file."""

    def make(name, **changes):
        config = run_config(name=name, **QUIET, **changes)
        (tmp_path / f"{name}.yaml").write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
        next_epochs(config.model_dump_json(), str(tmp_path / "policy"))
        return RunDirectory(config)

    return make


@pytest.fixture
def report(tmp_path):
    def call(*arguments):
        command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", "report", *arguments]
        environment = os.environ | {"COLUMNS": "200"}
        return subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

    return call


def evaluated(epoch, gain):
    rewards = np.random.default_rng(0).normal(0, 0.1, 30)
    return EvaluatedSamples(
        epoch=epoch,
        policy=f"{epoch:064x}" if epoch else "pretrained",
        prompt_sets=("train",) * 30,
        prompt_ids=tuple(map(str, range(30))),
        prompts=("a red circle",) * 30,
        categories=("",) * 30,
        image_indices=(0,) * 30,
        rewards={"reward": rewards + gain},
        image_size=(4, 4),
        images=np.zeros((30, 4, 4, 3), dtype=np.uint8),
    )


def commit(run, settings, samples):
    """A report artifact with the samples, and one part with their pictures, which is all that `rft report` reads."""
    identity = run.identity("report", samples.epoch, "", settings)
    part = Part(run.name(samples.epoch, f"evaluated-{settings}"), 0, 1)
    run.commit(part.name, run.identity("evaluated", samples.epoch, ""), lambda folder: _pictures(folder, samples))
    name = run.name(samples.epoch, f"report-{settings}")
    run.commit(name, identity, lambda folder: _written(folder, samples, part))


def _pictures(folder, samples):
    write_pictures(folder, 0, samples.images)
    return {}


def _written(folder, samples, part):
    write_evaluation(folder, samples, [part], len(samples.prompts))
    return {"metrics": {}}


def test_the_page_of_a_run_lies_in_its_folder(begin, report):
    run = begin("one")
    for epoch in (0, 1, 2):
        commit(run, "aaaaaaaa", evaluated(epoch, 0.5 * epoch))

    done = report("one.yaml")

    assert done.returncode == 0, done.stderr
    assert "Epoch 2 is better than pretrained on reward (95 % confidence)." in done.stdout
    page = (run.store.fetch("epochs/0002/report-aaaaaaaa").parents[2] / "report.html").read_text(encoding="utf-8")
    assert "Epoch 2 is better than pretrained on reward (95 % confidence)." in page.replace("\u00a0", " ")


def test_several_runs_make_one_page_and_one_table(begin, report, tmp_path):
    for name, gain in (("one", 0.5), ("two", 0.75)):
        run = begin(name)
        commit(run, "aaaaaaaa", evaluated(0, 0))
        commit(run, "aaaaaaaa", evaluated(2, gain))

    done = report("one.yaml", "two.yaml", "--output", "pages/both.html")

    assert done.returncode == 0, done.stderr
    assert "two is better than one on reward (95 % confidence)." in done.stdout
    assert "+0.250*" in done.stdout
    assert "two is better than one on reward" in (tmp_path / "pages" / "both.html").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["one.yaml"], "contains no evaluation yet"),
        (["one.yaml", "-o", "name=other"], "contains no run; start one with: rft run one.yaml"),
        (["one.yaml", "one.yaml"], "rft report compares different runs, got "),
    ],
)
def test_what_cannot_be_reported_is_the_users_mistake_in_one_line(begin, report, arguments, said):
    run = begin("one")
    if len(arguments) == 2:
        for epoch in (0, 1):
            commit(run, "aaaaaaaa", evaluated(epoch, 0))

    done = report(*arguments)

    assert done.returncode == 2
    assert said in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_report_of_the_current_settings_goes_before_a_newer_one_of_others(begin):
    run = begin("one")
    current = settings_digest(run)[:8]
    for settings, epoch in ((current, 0), (current, 1), ("ffffffff", 0), ("ffffffff", 2)):
        commit(run, settings, evaluated(epoch, 0))

    assert newest_report(run) == (f"epochs/0000/report-{current}", f"epochs/0001/report-{current}")


def test_a_report_without_the_pretrained_models_is_none(begin):
    run = begin("one")
    commit(run, "aaaaaaaa", evaluated(1, 0))

    assert newest_report(run) is None
