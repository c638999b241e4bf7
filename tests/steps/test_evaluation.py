"""An evaluation in parts: bounded in memory, the same whoever draws it, begun anew only where it is missing."""

import itertools
import json
import weakref
from functools import cache
from pathlib import Path

import numpy as np
import pytest

from reward_finetuning.config import ArtifactError
from reward_finetuning.diffusion.gaussian import step_kl
from reward_finetuning.evaluation import parts
from reward_finetuning.evaluation.reports import report_name
from reward_finetuning.evaluation.subjects import Subject
from reward_finetuning.rewards.scorer import load_scorers
from reward_finetuning.steps import run_epochs as fused
from reward_finetuning.steps.evaluate import draw_share, evaluate
from reward_finetuning.steps.evaluate_shard import evaluate_shard
from reward_finetuning.storage import Reference
from reward_finetuning.storage.artifacts.evaluations import read_evaluation
from reward_finetuning.training.processes import Processes

pytestmark = pytest.mark.slow

SMALL_PARTS = {"images_per_prompt": 6, "images_per_part": 4}  # 12 images in 3 micro-batches, one a part


@pytest.fixture
def trained(tasks):
    """A run after one epoch, about to be evaluated."""

    def make(name="tiny", **evaluation):
        one = tasks(name=name, evaluation=SMALL_PARTS | evaluation, training={"learning_rate": 1e-3})
        one.epoch(one.begin())
        return one

    return make


@pytest.fixture
def drawn(monkeypatch):
    """Pictures of every micro-batch that is drawn, weakly, and how many of them were alive at once."""
    draw = parts.draw_micro_batch
    seen, most = [], [0]

    def watched(*args, **options):
        trajectories, images = draw(*args, **options)
        seen.append(weakref.ref(images))
        most[0] = max(most[0], sum(ref() is not None for ref in seen))
        return trajectories, images

    monkeypatch.setattr(parts, "draw_micro_batch", watched)
    return seen, most


def evaluated(one):
    """All numbers of an evaluation; the step returns those that a page shows."""
    evaluate(one.config, one.path("policy"), one.path("report.html"), one.path("metrics"), one.path("summary"))
    return json.loads(Path(one.path("metrics")).read_text())


def samples_files(one):
    """The files of both reports that hold samples, byte by byte."""
    folders = (one.run.store.fetch(report_name(one.run, epoch)) for epoch in (0, 1))
    return [(folder / file).read_bytes() for folder in folders for file in ("samples.parquet", "kl.safetensors")]


def test_shards_draw_what_one_task_draws(trained):
    whole, sharded = trained("whole"), trained("sharded", num_shards=4)

    evaluated(whole)
    for shard in reversed(range(4)):
        evaluate_shard(sharded.config, sharded.path("policy"), shard)
    evaluated(sharded)

    assert samples_files(sharded) == samples_files(whole)


def test_after_the_shards_nothing_is_left_to_draw(trained, drawn):
    one = trained(num_shards=4)
    seen, _ = drawn
    for shard in range(4):
        evaluate_shard(one.config, one.path("policy"), shard)
    assert len(seen) == 6

    evaluated(one)

    assert len(seen) == 6


class Alone(Processes):
    """One of several processes, of which the others are not waited for."""

    def agreed(self, value):
        return value

    def gathered(self, value):
        return [value]


def test_processes_of_one_task_share_the_parts_until_there_is_a_report(trained, drawn):
    one = trained()
    seen, _ = drawn
    subject = Subject.of_run(one.run, Reference(epoch=0))
    names = [part.name for part in parts.parts_of(one.run, subject)]
    scorers = cache(lambda: load_scorers(one.run.config.reward))

    def committed(rank, count):
        draw_share(one.run, subject, subject.load, scorers, Alone(rank, count))
        return [one.run.store.manifest(name) is not None for name in names]

    assert committed(0, 1) == [False, False, False]
    assert committed(1, 2) == [False, True, False]
    assert committed(0, 2) == [True, True, True]
    evaluated(one)
    one.run.store.delete(names[0])
    before = len(seen)
    assert committed(0, 2) == [False, True, True]
    assert len(seen) == before


def test_the_fused_loop_shares_each_evaluation(tasks, monkeypatch):
    one = tasks()
    shared = []
    monkeypatch.setattr(fused, "draw_share", lambda run, subject, *rest: shared.append(subject.reference.epoch))

    fused.run_epochs(one.config, one.begin(), one.path("policy"), one.path("report"))

    assert shared == [0, 2]


def test_a_second_attempt_draws_only_the_part_that_is_missing(trained, drawn):
    one = trained()
    evaluated(one)
    before = samples_files(one)
    (first, _, _) = [name for name in one.run.store.names("epochs/0001") if name.startswith("evaluated-")]
    for name in (f"epochs/0001/{first}", report_name(one.run, 1)):
        one.run.store.delete(name)
    seen, _ = drawn
    seen.clear()

    evaluated(one)

    assert len(seen) == 1
    assert samples_files(one) == before


def test_only_the_pictures_of_two_micro_batches_are_in_memory(trained, drawn):
    one = trained(images_per_part=256)
    _, most = drawn

    evaluated(one)

    assert most[0] == 2  # the one that was scored last, and the one just drawn


def test_pictures_are_read_one_by_one_and_checked(trained):
    one = trained()
    evaluated(one)
    samples = read_evaluation(one.run.store, report_name(one.run, 1))
    (path,) = Path(one.run.uri).glob("epochs/0001/evaluated-*/images-00001.safetensors")

    assert samples.images[5].shape == (*samples.image_size, 3)
    damaged = bytearray(path.read_bytes())
    damaged[-1] ^= 1
    path.write_bytes(damaged)
    assert samples.images[5].shape == (*samples.image_size, 3)  # looked at already
    with pytest.raises(ArtifactError, match=r"images-00001.safetensors was altered"):
        read_evaluation(one.run.store, report_name(one.run, 1)).images[5]


def test_the_kl_is_that_of_each_steps_two_gaussians_and_the_pretrained_models_is_zero(trained, monkeypatch):
    one = trained()
    found = []

    def watched(mean, mean_ref, std):
        # Against the general formula for two normal distributions, with the mean over latent elements.
        general = np.log(1.0) + ((mean - mean_ref) ** 2 / std[:, None, None, None] ** 2).mean(dim=(1, 2, 3)) / 2
        found.append(general)
        return step_kl(mean, mean_ref, std)

    monkeypatch.setattr("reward_finetuning.diffusion.gaussian.step_kl", watched)
    evaluated(one)
    before, after = (read_evaluation(one.run.store, report_name(one.run, epoch)) for epoch in (0, 1))

    assert not before.kl.any()
    assert after.kl.shape == (12, 3)
    assert (after.kl > 0).all()
    np.testing.assert_allclose(after.kl[:4], np.stack(found[:3], axis=1), rtol=1e-5)
    np.testing.assert_allclose(after.measures["kl"], after.kl.sum(axis=1), rtol=1e-6)


def test_without_kl_the_reference_network_is_not_asked(trained, monkeypatch):
    one = trained(kl=False)
    monkeypatch.setattr(
        "reward_finetuning.policy.load.Policy.reference_denoiser", lambda self: pytest.fail("the reference was asked")
    )

    found = evaluated(one)

    assert not any("/kl/" in name for name in found)
    assert "eval/train/diversity/gain" in found


def test_page_numbers_and_summary_lie_where_they_are_asked_for(trained):
    one = trained()

    found = evaluated(one)

    assert found.keys() > {"eval/train/reward/gain_low", "eval/train/diversity/gain", "eval/train/kl/mean"}
    summary = Path(one.path("summary")).read_text(encoding="utf-8")
    assert summary.startswith("# tiny: epoch 1 against pretrained\n")
    assert "| train | kl |" in summary
    assert Path(one.path("report.html")).stat().st_size < 2_000_000


def test_a_report_of_an_earlier_version_says_what_to_do(trained):
    import pyarrow.parquet as pq

    one = trained()
    evaluated(one)

    def without_parts(folder):
        table = pq.read_table(one.run.store.fetch(report_name(one.run, 1)) / "samples.parquet")
        pq.write_table(table.replace_schema_metadata({"epoch": "1", "policy": "x"}), folder / "samples.parquet")
        return {}

    one.run.commit("old", one.run.identity("report", 1, ""), without_parts)

    with pytest.raises(ArtifactError, match="was written by an earlier version; delete it, and evaluate again"):
        read_evaluation(one.run.store, "old")


class Seeing:
    """A scorer of the mean brightness, which is also the one feature by which it tells pictures apart."""

    def __call__(self, images, prompts):
        return images.mean(axis=(1, 2, 3))

    def image_features(self, images):
        return images.mean(axis=(1, 2, 3))[:, None].astype(np.float32)


def test_a_scorer_that_sees_pictures_gives_a_second_diversity(trained, monkeypatch):
    one = trained()
    monkeypatch.setattr("reward_finetuning.steps.evaluate.load_scorers", lambda config: {"shapes": Seeing()})

    evaluated(one)
    samples = read_evaluation(one.run.store, report_name(one.run, 1))

    apart = [abs(a - b) for a, b in itertools.combinations(samples.rewards["reward"][:6], 2)]
    assert samples.measures["clip_diversity"][:6].mean() == pytest.approx(np.mean(apart), rel=1e-4)
    assert "diversity" in samples.measures
