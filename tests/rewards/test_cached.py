import numpy as np
import pytest

from reward_finetuning.config import RetryableError, TrainingError
from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.records import Prompt, Sample
from reward_finetuning.rewards.cached import cached_scorers
from reward_finetuning.rewards.weighted import score
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.artifacts import scores
from reward_finetuning.storage.artifacts.scores import ScoreCache

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 4, 4, 3), dtype=np.uint8)
PROMPTS = ["a", "a", "b", "b", "c", "c"]


class Counting:
    """A scorer that knows what it was asked; `fails` is called before each answer."""

    def __init__(self, fails=lambda asked: None):
        self.asked, self.fails = [], fails

    def __call__(self, images, prompts):
        self.fails(self.asked)
        self.asked += prompts
        return images.mean(axis=(1, 2, 3)) / 7


@pytest.fixture
def run(run_config):
    made = RunDirectory(run_config())
    made.begin({"reward.far.digest": "d"}, {})
    return made


def scored(run, scorer, images=IMAGES, prompts=PROMPTS, fingerprint=None, batch=2, **settings):
    """All pictures through a cache of their own, as one attempt of the reward step."""
    config = RewardConfig(weights={"far": 1.0}, scorers={"far": settings})
    samples = [Sample(i, Prompt(f"p{i}", text), 0) for i, text in enumerate(prompts)]
    batches = ((images[i : i + batch], samples[i : i + batch]) for i in range(0, len(samples), batch))
    with ScoreCache(run, 1, "scores-x-") as cache:
        wrapped = cached_scorers({"far": scorer}, config, fingerprint or run.fingerprinted(), cache)
        return score(wrapped, config.weights, batches).combined


def test_the_second_attempt_asks_nothing_and_gets_the_same_bits(run):
    first, second = Counting(), Counting()

    assert (scored(run, first) == scored(run, second)).all()

    assert (first.asked, second.asked) == (PROMPTS, [])


CHANGED = IMAGES.copy()
CHANGED[0, 0, 0, 0] ^= 1


@pytest.mark.parametrize(
    ("difference", "asked"),
    [
        ({"prompts": ["z", *PROMPTS[1:]]}, 1),
        ({"images": CHANGED}, 1),
        ({"images": IMAGES.reshape(6, 2, 8, 3)}, 6),
        ({"fingerprint": {"reward.far.digest": "other"}}, 6),
        ({"dtype": "float16"}, 6),
        ({"use": "m:f"}, 6),
    ],
)
def test_another_prompt_picture_digest_dtype_or_plugin_is_asked_again(run, difference, asked):
    scored(run, Counting())
    scorer = Counting()

    scored(run, scorer, **difference)

    assert len(scorer.asked) == asked


def test_only_what_is_missing_is_asked_whatever_the_batches(run):
    scored(run, Counting(), IMAGES[::2], PROMPTS[::2])
    scorer = Counting()

    values = scored(run, scorer, batch=4)

    assert scorer.asked == PROMPTS[1::2]
    assert (values == IMAGES.mean(axis=(1, 2, 3)) / 7).all()


def test_a_scorer_without_a_digest_is_asked_every_time(run):
    for _ in range(2):
        scorer = Counting()
        scored(run, scorer, fingerprint={"seed": 0})
        assert scorer.asked == PROMPTS


def test_what_was_scored_before_a_failure_is_kept(run):
    def goes_down(asked):
        if len(asked) == 4:
            raise RetryableError("the server is gone")

    with pytest.raises(RetryableError, match="gone"):
        scored(run, Counting(goes_down))
    retry = Counting()
    scored(run, retry)

    assert retry.asked == PROMPTS[4:]


def test_a_score_that_is_not_finite_is_not_remembered(run):
    def broken(images, prompts):
        return np.array([1.0, np.nan])

    with pytest.raises(TrainingError, match=r"scorer far returned nan for sample 1"):
        scored(run, broken)
    retry = Counting()
    scored(run, retry)

    assert retry.asked == PROMPTS[1:]


def test_a_wrong_number_of_scores_is_found_behind_the_cache_too(run):
    with pytest.raises(TrainingError, match=r"scorer far returned scores of shape \(1,\) for 2 pictures"):
        scored(run, lambda images, prompts: [1.0])


def test_a_damaged_cache_costs_its_scores_and_nothing_else(run, capsys):
    scored(run, Counting())
    (name,) = run.store.names("epochs/0001")
    path = run.store.fetch(f"epochs/0001/{name}") / scores.SCORES
    path.write_bytes(path.read_bytes()[:-9])
    scorer = Counting()

    scored(run, scorer)

    assert scorer.asked == PROMPTS
    assert "warning: cached scores are not used, they are computed anew" in capsys.readouterr().out
    assert (scored(run, Counting()) == IMAGES.mean(axis=(1, 2, 3)) / 7).all()
