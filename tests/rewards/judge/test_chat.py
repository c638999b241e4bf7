"""The judge against a server of the chat completions protocol."""

import json

import numpy as np
import pytest
from pydantic import ValidationError
from servers.chat import ChatServer, Fault

from reward_finetuning.config import RetryableError, TrainingError, UserError
from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.rewards.remote import http
from reward_finetuning.rewards.scorer import check_scorers, load_scorers, scorer_digests, usage

IMAGES = np.stack([np.full((8, 6, 3), level, dtype=np.uint8) for level in (200, 0, 100)])
PROMPTS = ["a {cat}", "a dog \u2603", "a {prompt}"]
KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.01)


def brightness(question, pictures):
    """Rates a picture by its brightness; of two, says by how much the second one is brighter."""
    means = [float(picture.mean()) / 20 for picture in pictures]
    value = means[0] if len(means) == 1 else 10.0 * (means[1] > means[0])
    return f'```json\n{{"score": {value}}}\n```'


def config(server, chat=(), **settings):
    chat = {"model": "eye-1", **dict(chat)}
    judge = {"url": server.url, "retries": 2, "timeout_seconds": 5, "chat": chat, **settings}
    return RewardConfig(weights={"judge": 1.0}, scorers={"judge": judge})


def judge_of(server, chat=(), **settings):
    return load_scorers(config(server, chat, **settings))["judge"]


def test_each_picture_is_rated_for_its_prompt_and_paid_for():
    with ChatServer(brightness) as server:
        scorers = load_scorers(config(server, {"input_price": 2.0, "output_price": 10.0, "concurrency": 2}))

        scores = scorers["judge"](IMAGES, PROMPTS)

    assert scores.tolist() == [10.0, 0.0, 5.0]
    asked = sorted(request["messages"][0]["content"][0]["text"] for request in server.seen)
    assert all(any(f"prompt:\n{prompt}\n" in text for text in asked) for prompt in PROMPTS)
    assert "from 0 (nothing matches) to 10" in asked[0]
    assert usage(scorers) == {
        "judge/requests": 3,
        "judge/input_tokens": 300,
        "judge/output_tokens": 30,
        "judge/cost": pytest.approx((300 * 2 + 30 * 10) / 1e6),
    }


def test_images_of_a_prompt_are_compared_in_pairs_in_both_orders():
    with ChatServer(brightness) as server:
        scores = judge_of(server, groupwise=True)(IMAGES, ["a cat"] * 3)

    assert scores.tolist() == [1.0, 0.0, 0.5]
    assert len(server.seen) == 6


def test_a_judge_that_prefers_a_position_decides_nothing():
    with ChatServer(lambda question, pictures: '{"score": 0}') as server:
        assert judge_of(server, groupwise=True)(IMAGES, ["a cat"] * 3).tolist() == [0.5, 0.5, 0.5]


def test_one_image_alone_is_a_tie():
    with ChatServer(brightness) as server:
        assert judge_of(server, groupwise=True)(IMAGES[:1], ["a cat"]).tolist() == [0.5]


def test_a_pattern_finds_the_number_in_a_text():
    chat = {"question": "Rate {prompt}!", "score_pattern": r"Rating: ([\d.]+)", "lowest": 1, "highest": 5}
    with ChatServer(lambda question, pictures: f"{question} It has 3 legs. Rating: 4.5") as server:
        assert judge_of(server, chat)(IMAGES[:1], ["a cat"]).tolist() == [4.5]


def test_busy_and_broken_answers_are_retried_after_the_servers_pause(monkeypatch):
    pauses = []
    monkeypatch.setattr(http.time, "sleep", pauses.append)
    with ChatServer(brightness) as server:
        server.faults = [Fault(429, headers={"Retry-After": "7"}), Fault(200, b"<h1>gateway</h1>")]
        scores = judge_of(server, {"concurrency": 1})(IMAGES[:1], ["a cat"])

    assert scores.tolist() == [10.0]
    assert pauses[0] >= 7
    assert len(pauses) == 2


def test_a_server_that_stays_down_ends_with_the_code_of_a_retry():
    with ChatServer(brightness) as server:
        server.faults = [Fault(503)] * 3
        with pytest.raises(RetryableError, match=r"failed 3 times, the last time: it answered 503"):
            judge_of(server)(IMAGES[:1], ["a cat"])


def test_an_empty_account_is_not_asked_again():
    with ChatServer(brightness) as server:
        server.faults = [Fault(429, b'{"error": {"code": "insufficient_quota"}}')]
        with pytest.raises(UserError, match="insufficient_quota"):
            judge_of(server)(IMAGES[:1], ["a cat"])


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("I cannot judge this.", 'no JSON object with a number "score"'),
        ('{"score": 11}', "11 is not from 0 to 10"),
        ('{"score": NaN}', "nan is not from 0 to 10"),
        ('{"score": true}', "no JSON object"),
        ('{"score": 1, "score": 2}', "twice|key"),
    ],
)
def test_an_answer_without_a_score_in_range_is_asked_for_again_and_then_shown(answer, reason):
    with ChatServer(lambda question, pictures: answer) as server:
        with pytest.raises(TrainingError, match=rf"no score in 3 answers, .* 'a cat'.*({reason}).*it answered"):
            judge_of(server)(IMAGES[:1], ["a cat"])

        assert len(server.seen) == 3


def test_the_bound_on_requests_stops_the_task():
    with ChatServer(brightness) as server:
        with pytest.raises(UserError, match="asked 2 times by this task, which is max_requests"):
            judge_of(server, {"max_requests": 2, "concurrency": 1})(IMAGES, PROMPTS)

        assert len(server.seen) == 2


def test_the_key_comes_from_the_environment_and_is_in_no_message(monkeypatch):
    monkeypatch.setenv("JUDGE_KEY", KEY)
    with ChatServer(brightness, key=KEY) as server:
        assert judge_of(server, token_env="JUDGE_KEY")(IMAGES[:1], ["a cat"]).tolist() == [10.0]
        monkeypatch.setenv("JUDGE_KEY", "sk-other-0123456789")

        with pytest.raises(UserError, match=r"401.*token_env names") as caught:
            judge_of(server, token_env="JUDGE_KEY")(IMAGES[:1], ["a cat"])

    assert "sk-other" not in str(caught.value)


def test_the_digest_covers_what_changes_scores_and_nothing_else():
    def digest(chat=(), **settings):
        with ChatServer(brightness) as server:
            return scorer_digests(config(server, chat, **settings))["reward.judge.digest"]

    base = digest()

    assert digest({"concurrency": 1, "max_requests": 9, "input_price": 1}) == base
    different = [{"model": "eye-2"}, {"question": "Rate {prompt}"}, {"temperature": 1}, {"detail": "low"}]
    assert len({base, digest(groupwise=True), *map(digest, different)}) == 6


@pytest.mark.parametrize(
    ("scorer", "message"),
    [
        ({"chat": {"model": "m"}}, "chat needs url"),
        ({"url": "https://u:p@h/v1", "chat": {"model": "m"}}, "no password or token"),
        ({"url": "http://h", "chat": {"model": "m", "question": "Rate it"}}, r"must contain \{prompt\}"),
        ({"url": "http://h", "chat": {"model": "m", "score_pattern": "("}}, "no regular expression"),
        ({"url": "http://h", "chat": {"model": "m", "score_pattern": "a"}}, "has one group"),
        ({"url": "http://h", "chat": {"model": "m", "lowest": 1, "highest": 1}}, "lowest must be less"),
    ],
)
def test_settings_that_cannot_work_are_refused(scorer, message):
    with pytest.raises(ValidationError, match=message):
        RewardConfig(weights={"judge": 1.0}, scorers={"judge": scorer})


def test_a_judge_has_no_weights():
    settings = {"url": "http://h", "chat": {"model": "m"}, "source": "weights"}
    with pytest.raises(UserError, match="the judge at http://h has no source"):
        check_scorers(RewardConfig(weights={"judge": 1.0}, scorers={"judge": settings}))


def test_models_that_refuse_a_temperature_are_sent_none():
    with ChatServer(brightness) as server:
        judge_of(server, {"temperature": None, "tokens_field": "max_tokens"})(IMAGES[:1], ["a cat"])

    (request,) = server.seen
    assert "temperature" not in request
    assert request["max_tokens"] == 300
    assert json.dumps(request).count("data:image/png;base64,") == 1
