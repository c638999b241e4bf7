"""Scorers that compare the images of a prompt, wherever micro-batches and shards are cut."""

import numpy as np
import pytest
from pydantic import ValidationError

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.evaluation.parts import parts_of
from reward_finetuning.evaluation.subjects import Subject
from reward_finetuning.records import Prompt, Sample
from reward_finetuning.rewards.cached import cached_scorers
from reward_finetuning.rewards.scorer import check_scorers
from reward_finetuning.rewards.weighted import score
from reward_finetuning.steps.plan import cut
from reward_finetuning.storage import Reference, RunDirectory
from reward_finetuning.storage.artifacts.scores import ScoreCache

K = 3
SAMPLES = [Sample(i, Prompt(f"p{i // K}", f"text {i // K}"), i % K) for i in range(4 * K)]
IMAGES = np.random.default_rng(0).integers(0, 256, (len(SAMPLES), 4, 4, 3), dtype=np.uint8)
JUDGE = {"weights": {"judge": 1.0}, "scorers": {"judge": {"use": "m:f", "groupwise": True}}}


class Ranking:
    """The rank of each picture among those of its call, by brightness; knows how it was called."""

    def __init__(self):
        self.calls = []

    def __call__(self, images, prompts):
        self.calls.append(tuple(prompts))
        return images.mean(axis=(1, 2, 3)).argsort().argsort().astype(float)


def batches(size, images=IMAGES):
    return ((images[i : i + size], SAMPLES[i : i + size]) for i in range(0, len(SAMPLES), size))


@pytest.mark.parametrize("size", [1, 2, 4, 5, 12])
def test_a_groupwise_scorer_gets_each_prompt_whole_and_alone_whatever_the_batches(size):
    ranking, pointwise = Ranking(), lambda images, prompts: images.mean(axis=(1, 2, 3))

    rewards = score({"rank": ranking, "mean": pointwise}, {"rank": 1.0, "mean": 0.0}, batches(size), {"rank"})

    means = IMAGES.mean(axis=(1, 2, 3))
    assert ranking.calls == [(f"text {i}",) * K for i in range(4)]
    assert rewards.combined.reshape(4, K).tolist() == means.reshape(4, K).argsort().argsort().tolist()
    assert (rewards.scores["mean"] == means).all()


def scored(run, images=IMAGES):
    ranking, config = Ranking(), RewardConfig.model_validate(JUDGE)
    with ScoreCache(run, 1, "scores-x-") as cache:
        wrapped = cached_scorers({"judge": ranking}, config, run.fingerprinted(), cache)
        return score(wrapped, config.weights, batches(4, images), config.groupwise).combined, ranking.calls


def test_a_cached_score_belongs_to_its_whole_group(run_config):
    run = RunDirectory(run_config(reward=JUDGE))
    run.begin({"reward.judge.digest": "d"}, {})
    changed = IMAGES.copy()
    changed[4] = 255  # the second prompt's second picture is the brightest now

    first, _ = scored(run)
    again, calls_again = scored(run)
    other, calls_other = scored(run, changed)

    assert (first == again).all()
    assert calls_again == []
    assert calls_other == [("text 1",) * K]
    assert other[4] == K - 1


@pytest.mark.parametrize(("num_parts", "edges"), [(1, [0, 4]), (2, [0, 3, 4]), (9, [0, 3, 4])])
def test_shards_of_a_groupwise_run_are_cut_between_prompts(run_config, num_parts, edges):
    config = run_config(  # 5 prompts of 3 images, in micro-batches of 4: prompts end with micro-batches 3 and 4
        prompts={"prompts_per_epoch": 5}, reward=JUDGE
    )

    parts = cut(config, Reference(epoch=0), num_parts)

    assert [parts[0].first, *(part.last for part in parts)] == edges


def test_shards_that_would_split_a_prompt_are_refused(run_config):
    with pytest.raises(ValidationError, match=r"judge scores all images of a prompt together, .* at most 1 shards"):
        run_config(reward=JUDGE, loop={"num_shards": 2})


def test_parts_of_an_evaluation_are_cut_between_prompts(run_config):
    evaluation = {"images_per_prompt": 6, "images_per_part": 4}
    cut_anywhere = RunDirectory(run_config(evaluation=evaluation))
    cut_at_prompts = RunDirectory(run_config(evaluation=evaluation, reward=JUDGE))

    edges = [
        [part.last for part in parts_of(run, Subject.of_run(run, Reference(epoch=0)))]
        for run in (cut_anywhere, cut_at_prompts)
    ]

    assert edges == [[1, 2, 3], [3]]


def test_only_the_fingerprint_of_a_groupwise_scorer_says_so(run_config):
    pointwise = run_config(reward={"weights": {"judge": 1.0}, "scorers": {"judge": {"use": "m:f"}}})

    assert run_config(reward=JUDGE).numbers()["reward.scorers.judge.groupwise"] is True
    assert "reward.scorers.judge.groupwise" not in pointwise.numbers()


@pytest.mark.parametrize("scorer", ["shapes", "pickscore"])
def test_a_scorer_that_compares_nothing_cannot_be_groupwise(scorer):
    config = RewardConfig.model_validate({"weights": {scorer: 1.0}, "scorers": {scorer: {"groupwise": True}}})

    with pytest.raises(UserError, match="groupwise"):
        check_scorers(config)
