import json
import socket
import threading
import time
from functools import partial

import numpy as np
import pytest

from reward_finetuning.config import RetryableError, TrainingError, UserError
from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.records import Prompt, Sample
from reward_finetuning.rewards.remote import exchange, http
from reward_finetuning.rewards.scorer import check_scorers, load_scorers, scorer_digests
from reward_finetuning.rewards.weighted import score

IMAGES = np.random.default_rng(0).integers(0, 256, (3, 8, 6, 3), dtype=np.uint8)
PROMPTS = ["a cat", "a dog on the moon \u2603", ""]


def at(url, **settings):
    return RewardConfig(
        weights={"far": 1.0}, scorers={"far": {"url": url, "retries": 2, "timeout_seconds": 5} | settings}
    )


def scores_of(url, **settings):
    """As the reward step does it."""
    samples = [Sample(i, Prompt(f"p{i}", text), 0) for i, text in enumerate(PROMPTS)]
    config = at(url, **settings)
    return score(load_scorers(config), config.weights, [(IMAGES, samples)]).combined.tolist()


def answer(handler, scores=(1.0, 2.0, 3.0), **extra):
    handler.respond(200, json.dumps({"scores": list(scores), **extra}).encode())


def error(handler, status=500, text=b"<h1>out of memory</h1>", **headers):
    handler.respond(status, text, **headers)


def test_pictures_and_prompts_arrive_bit_for_bit_and_scores_come_back(serving):
    def scorer(images, prompts):
        assert (images == IMAGES).all()
        assert prompts == PROMPTS
        return images.mean(axis=(1, 2, 3), dtype=np.float64)

    with serving(scorer) as url:
        assert scores_of(url) == IMAGES.mean(axis=(1, 2, 3), dtype=np.float64).tolist()


def test_a_path_before_v1_is_kept(scripted):
    with scripted(answer) as (url, seen):
        assert scores_of(f"{url}/team/reward/") == [1.0, 2.0, 3.0]
    assert json.loads(seen[0])["prompts"] == PROMPTS


def test_the_servers_digest_is_part_of_the_fingerprint(serving):
    with serving(None, digest="sha-of-weights") as url:
        assert scorer_digests(at(url)) == {"reward.far.digest": "sha-of-weights"}


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503])
def test_a_failure_that_passes_is_not_noticed(scripted, status):
    with scripted(partial(error, status=status), partial(error, status=status), answer) as (url, seen):
        assert scores_of(url) == [1.0, 2.0, 3.0]
    assert len(seen) == 3


def test_a_failure_that_stays_ends_with_code_75_and_says_what_the_server_said(scripted):
    with scripted(error) as (url, seen), pytest.raises(RetryableError, match=r"failed 3 times, .* 500 .*out of mem"):
        scores_of(url)
    assert len(seen) == 3
    assert RetryableError.exit_code == 75


@pytest.mark.parametrize(
    ("status", "hint"), [(400, ""), (401, ""), (404, "before /v1"), (413, "lower reward.batch_size")]
)
def test_a_refusal_is_the_users_and_not_asked_again(scripted, status, hint):
    with scripted(partial(error, status=status, text=b"no")) as (url, seen):
        with pytest.raises(UserError, match=rf"{url}/v1/score answered {status} .*: no.*{hint}"):
            scores_of(url)
        assert len(seen) == 1


def test_a_redirection_says_where_to(scripted):
    with (
        scripted(partial(error, status=301, Location="https://new/")) as (url, _),
        pytest.raises(UserError, match="give the final address, it points at https://new/"),
    ):
        scores_of(url)


def test_a_server_that_hangs_costs_the_timeout_and_no_more(scripted):
    done = threading.Event()
    started = time.monotonic()

    with scripted(lambda handler: done.wait(30)) as (url, seen):
        with pytest.raises(RetryableError, match=r"failed 2 times, the last time: no whole answer within 0.3 s"):
            scores_of(url, timeout_seconds=0.3, retries=1)
        done.set()

    assert len(seen) == 2
    assert 0.6 <= time.monotonic() - started < 5


@pytest.mark.slow
@pytest.mark.parametrize("part", ["headers", "body"])
def test_a_server_that_drips_bytes_for_ever_is_given_up_too(scripted, part):
    done = threading.Event()

    def drip(handler):
        if part == "body":
            handler.send_response(200)
            handler.send_header("Content-Length", "1000")
            handler.end_headers()
        for _ in range(200):
            if not done.wait(0.05):
                handler.wfile.write(b"H")

    with scripted(drip) as (url, _):
        with pytest.raises(RetryableError, match=r"no whole answer within 0.4 s"):
            scores_of(url, timeout_seconds=0.4, retries=0)
        done.set()


def test_an_answer_cut_off_in_the_middle_is_asked_for_again(scripted):
    def cut(handler):
        handler.send_response(200)
        handler.send_header("Content-Length", "100")
        handler.end_headers()
        handler.wfile.write(b'{"scores": [1.0, 2')
        handler.connection.shutdown(socket.SHUT_RDWR)

    def cut_without_saying_how_long(handler):
        handler.wfile.write(b'HTTP/1.0 200 OK\r\n\r\n{"scores": [1.0, 2')

    with scripted(cut, cut_without_saying_how_long, answer) as (url, seen):
        assert scores_of(url) == [1.0, 2.0, 3.0]
    assert len(seen) == 3


def test_a_description_cut_off_in_the_middle_is_no_reason_to_call_it_no_scorer():
    whole = b'{"name": "a", "digest": "d"}'
    head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(whole)

    with socket.create_server(("127.0.0.1", 0)) as listener:

        def answer_twice():
            for body in (whole[:9], whole):
                client, _ = listener.accept()
                client.recv(10_000)
                client.sendall(head + body)
                client.close()

        thread = threading.Thread(target=answer_twice, daemon=True)
        thread.start()
        digests = scorer_digests(at(f"http://127.0.0.1:{listener.getsockname()[1]}"))
        thread.join()

    assert digests == {"reward.far.digest": "d"}


def test_nobody_listening_ends_with_code_75():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{free.getsockname()[1]}"

    with pytest.raises(RetryableError, match="failed 3 times, the last time: ConnectionRefusedError"):
        scores_of(url)


@pytest.mark.parametrize("scores", [[1.0], [1.0] * 4, [[1.0], [2.0], [3.0]], []])
def test_the_wrong_number_of_scores_stops_training(scripted, scores):
    with (
        scripted(partial(answer, scores=scores)) as (url, seen),
        pytest.raises(TrainingError, match=r"scorer far returned .* for 3 pictures"),
    ):
        scores_of(url)
    assert len(seen) == 1


def test_scores_that_are_no_numbers_stop_training(scripted):
    with (
        scripted(partial(answer, scores=["0.1", "0.2", "0.3"])) as (url, _),
        pytest.raises(TrainingError, match=r"scorer far returned .*; it must return one real number"),
    ):
        scores_of(url)


@pytest.mark.parametrize("bad", [b"null", b"NaN", b"-Infinity"])
def test_a_score_that_is_not_finite_names_the_sample(scripted, bad):
    with (
        scripted(lambda handler: handler.respond(200, b'{"scores": [1, ' + bad + b", 3]}")) as (url, seen),
        pytest.raises(
            TrainingError, match=r"scorer far returned (nan|-inf) for sample 1 \(image 0 of 'a dog on the moon"
        ),
    ):
        scores_of(url)
    assert len(seen) == 1


@pytest.mark.parametrize("body", [b"<html>wait</html>", b"[1, 2, 3]", b'{"score": [1]}', b"[" * 100_000])
def test_an_answer_that_is_none_is_asked_for_again_and_then_shown(scripted, body):
    with scripted(lambda handler: handler.respond(200, body), answer) as (url, _):
        assert scores_of(url) == [1.0, 2.0, 3.0]
    with (
        scripted(lambda handler: handler.respond(200, body)) as (url, _),
        pytest.raises(RetryableError, match=r"the last time: (no JSON|`scores` must be a list; the answer has score)"),
    ):
        scores_of(url)


def test_an_answer_without_end_is_refused(scripted, monkeypatch):
    monkeypatch.setattr(exchange, "MAX_ANSWER_BYTES", 1000)

    with (
        scripted(partial(answer, scores=[1.0] * 1000)) as (url, _),
        pytest.raises(UserError, match="more than 1000 bytes"),
    ):
        scores_of(url)


def test_weights_exchanged_under_a_running_job_are_noticed(scripted):
    with (
        scripted(partial(answer, digest="other")) as (url, _),
        pytest.raises(UserError, match="was exchanged: its digest is 'other', it was 'd'; serve the one"),
    ):
        scores_of(url)


def test_an_address_that_is_no_scorer_is_found_out_before_any_work(scripted):
    with (
        scripted(answer) as (url, _),
        pytest.raises(
            UserError, match=rf"answers at {url}/web/v1/scorer is no scorer of this protocol: no JSON: b'<html>"
        ),
    ):
        scorer_digests(at(f"{url}/web"))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"url": "reward:8080"}, "written http://HOST:PORT or https://HOST, got 'reward:8080'"),
        ({"url": "http://reward:port"}, "written http://HOST:PORT"),
        ({"url": "file:///etc/passwd"}, "written http://HOST:PORT"),
        ({"url": "http://reward?model=a"}, "written http://HOST:PORT"),
        ({"url": "http://reward", "dtype": "float16", "source": "x"}, "has its source, dtype where it is served"),
    ],
)
def test_settings_that_cannot_work_are_refused_without_asking_anyone(settings, message):
    with pytest.raises(UserError, match=message):
        check_scorers(RewardConfig(weights={"far": 1.0}, scorers={"far": settings}))


def test_pauses_grow_differ_and_are_bounded(monkeypatch):
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 2.0)

    def pauses():
        policy = http.retry_policy(10)
        for _ in range(10):
            policy = policy.increment("POST", "/v1/score", error=OSError())
            yield policy.get_backoff_time()

    first, second = list(pauses()), list(pauses())

    assert first[0] == 0.0
    for attempt, pause in enumerate(first[1:], start=1):
        assert min(60, 2.0 * 2**attempt) <= pause <= min(60, 2.0 * 2**attempt + 2.0)
    assert first != second


def test_a_pause_that_the_server_asks_for_is_kept_and_bounded():
    policy = http.retry_policy(1)

    assert policy.parse_retry_after("7") == 7.0
    assert policy.parse_retry_after("3600") == 60.0


@pytest.mark.parametrize("wait", ["soon", "-1", "Fri, 99 Nov 2026", "\u00b2"])
def test_a_pause_that_is_none_does_not_end_the_step(scripted, wait):
    with scripted(partial(error, status=503, **{"Retry-After": wait}), answer) as (url, _):
        assert scores_of(url) == [1.0, 2.0, 3.0]
