import json
import os
import signal
import socket
import threading
import time
from base64 import b64encode
from http.client import HTTPConnection
from io import BytesIO
from urllib.parse import urlsplit

import numpy as np
import pytest
from PIL import Image

from reward_finetuning.config import RetryableError, UserError
from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.rewards.remote import server as server_module
from reward_finetuning.rewards.remote.wire import encode_request
from reward_finetuning.rewards.scorer import load_scorers

IMAGES = np.zeros((2, 4, 4, 3), dtype=np.uint8)
PROMPTS = ["a", "b"]


def ask(url, method, path, body=None, headers=None):
    connection = HTTPConnection(urlsplit(url).netloc, timeout=10)
    connection.request(method, path, body, headers or {})
    response = connection.getresponse()
    return response.status, json.loads(response.read())


def far(url, **settings):
    scorers = {"far": {"url": url, "retries": 1, "timeout_seconds": 5} | settings}
    return load_scorers(RewardConfig(weights={"far": 1.0}, scorers=scorers))["far"]


def length(images, prompts):
    return [len(prompt) for prompt in prompts]


def test_health_and_description_are_plain_json(serving):
    with serving(length, name="length", digest="abc") as url:
        assert ask(url, "GET", "/healthz") == (200, {"status": "ok"})
        assert ask(url, "GET", "/v1/scorer") == (200, {"name": "length", "digest": "abc"})


def test_a_request_written_by_hand_is_understood(serving):
    file = BytesIO()
    Image.new("RGB", (3, 2), (255, 0, 0)).save(file, "PNG")
    body = json.dumps({"images": [b64encode(file.getvalue()).decode()], "prompts": ["red"]})

    with serving(lambda images, prompts: images[:, 0, 0, 0] / 255) as url:
        assert ask(url, "POST", "/v1/score", body) == (200, {"scores": [1.0], "digest": "d"})


@pytest.mark.parametrize(
    ("method", "path", "body", "headers", "status", "why"),
    [
        ("GET", "/", None, {}, 404, "ask for /healthz, /v1/scorer or /v1/score"),
        ("POST", "/score", b"{}", {}, 404, "pictures go to /v1/score"),
        ("POST", "/v1/score", b"{}", {}, 400, "`images` must be a list of texts"),
        ("POST", "/v1/score", b"{}", {"Content-Length": "many"}, 411, "Content-Length is needed"),
        ("POST", "/v1/score", b"{}", {"Content-Length": "999999999"}, 413, "send fewer pictures at once"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(serving, method, path, body, headers, status, why):
    with serving(length) as url:
        answered, message = ask(url, method, path, body, headers)

    assert answered == status
    assert why in message["error"]


@pytest.mark.parametrize(
    ("returned", "kind", "why"),
    [
        (lambda: [1.0], UserError, r"422 .*: .*scorer served returned scores of shape \(1,\) for 2 pictures"),
        (lambda: 1 / 0, RetryableError, r"500 .*ZeroDivisionError: division by zero"),
    ],
)
def test_a_scorer_that_fails_is_told_to_the_client_and_the_service_goes_on(serving, returned, kind, why):
    with serving(lambda images, prompts: returned() if prompts[0] == "a" else [0.5, 0.5]) as url:
        scorer = far(url)
        with pytest.raises(kind, match=why):
            scorer(IMAGES, PROMPTS)
        assert scorer(IMAGES, ["b", "b"]).tolist() == [0.5, 0.5]


def test_requests_at_the_same_time_are_scored_one_after_the_other(serving):
    inside, most = [0], [0]

    def slow(images, prompts):
        inside[0] += 1
        most[0] = max(most[0], inside[0])
        time.sleep(0.05)
        inside[0] -= 1
        return length(images, prompts)

    with serving(slow) as url:
        threads = [threading.Thread(target=far(url), args=(IMAGES, PROMPTS)) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    assert most == [1]


def test_more_requests_than_memory_should_hold_are_asked_to_come_back(serving, monkeypatch):
    monkeypatch.setattr(server_module, "MAX_WAITING", 1)
    entered, leave = threading.Event(), threading.Event()

    def slow(images, prompts):
        entered.set()
        leave.wait(10)
        return [0.0, 0.0]

    with serving(slow) as url:
        first = threading.Thread(target=far(url), args=(IMAGES, PROMPTS))
        first.start()
        entered.wait(10)
        status, message = ask(url, "POST", "/v1/score", encode_request(IMAGES, PROMPTS))
        leave.set()
        first.join()

    assert status == 503
    assert "1 requests are in hand" in message["error"]


def test_a_client_that_leaves_in_the_middle_does_not_end_the_service(serving):
    with serving(length) as url:
        host, port = urlsplit(url).hostname, urlsplit(url).port
        with socket.create_connection((host, port)) as client:
            client.sendall(b"POST /v1/score HTTP/1.1\r\nContent-Length: 100\r\n\r\n{")
        assert far(url)(IMAGES, ["abc", "b"]).tolist() == [3.0, 1.0]


@pytest.mark.slow
def test_the_command_serves_a_scorer_of_ours_and_ends_gently(rft_serve):
    from reward_finetuning.rewards.colourfulness import colourfulness

    images = np.random.default_rng(0).integers(0, 256, (2, 8, 8, 3), dtype=np.uint8)

    with rft_serve("colourfulness") as (process, url):
        scores = far(url)(images, PROMPTS)
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=20)

    assert (scores == colourfulness(images, PROMPTS)).all()
    assert process.returncode == 0
    assert "all open requests were answered" in rest


@pytest.mark.slow
def test_sigterm_lets_a_request_in_hand_finish(rft_serve, tmp_path):
    (tmp_path / "slow_scorer.py").write_text(
        "import time, pathlib\n"
        "def score(images, prompts):\n"
        "    pathlib.Path(prompts[0]).touch()\n"
        "    time.sleep(1)\n"
        "    return [7.0] * len(prompts)\n"
    )
    started, scores = tmp_path / "started", []

    with rft_serve("slow", "--use", "slow_scorer:score", env=with_path(tmp_path)) as (process, url):
        scorer = far(url)
        thread = threading.Thread(target=lambda: scores.extend(scorer(IMAGES, [str(started), "b"])))
        thread.start()
        while not started.exists():
            time.sleep(0.01)
        process.send_signal(signal.SIGTERM)
        thread.join()
        process.wait(20)

    assert scores == [7.0, 7.0]
    assert process.returncode == 0


@pytest.mark.slow
def test_a_server_killed_in_the_middle_ends_with_code_75_and_another_takes_over(rft_serve, tmp_path):
    (tmp_path / "endless_scorer.py").write_text("import time\ndef score(images, prompts): time.sleep(60)\n")

    with rft_serve("endless", "--use", "endless_scorer:score", env=with_path(tmp_path)) as (process, url):
        scorer = far(url)
        killer = threading.Timer(0.3, process.kill)
        killer.start()
        with pytest.raises(RetryableError, match=r"failed 2 times, the last time: Connection"):
            scorer(IMAGES, PROMPTS)
    with rft_serve("jpeg_compressibility", "--host", "127.0.0.1") as (_, url):
        assert (far(url)(IMAGES, PROMPTS) < 0).all()


@pytest.mark.slow
def test_what_cannot_be_served_is_one_line_and_code_2(rft_serve):
    with rft_serve("beauty") as (process, _):
        _, errors = process.communicate(timeout=20)

    assert process.returncode == 2
    assert errors.startswith("rft: reward.weights: no scorer 'beauty'; choose from")


def with_path(folder):
    return os.environ | {"PYTHONPATH": os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")])}
