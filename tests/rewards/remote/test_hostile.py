"""Clients that mean harm, on loopback: bounded in number and in time."""

import json
import os
import signal
import socket
import ssl
import struct
import subprocess
import threading
import time
import zlib
from base64 import b64encode
from contextlib import suppress
from http.client import HTTPConnection, HTTPSConnection
from pathlib import Path
from urllib.parse import urlsplit

import numpy as np
import pytest

from reward_finetuning.config import RetryableError, UserError
from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.rewards.remote import admission, server, wire
from reward_finetuning.rewards.remote.wire import WireError, decode_request
from reward_finetuning.rewards.scorer import load_scorers

IMAGES = np.zeros((2, 16, 16, 3), dtype=np.uint8)
PROMPTS = ["a", "b"]


def far(url, **settings):
    scorers = {"far": {"url": url, "retries": 2, "timeout_seconds": 10} | settings}
    return load_scorers(RewardConfig(weights={"far": 1.0}, scorers=scorers))["far"]


def length(images, prompts):
    return [len(prompt) for prompt in prompts]


def connect(url):
    place = urlsplit(url)
    return socket.create_connection((place.hostname, place.port), timeout=30)


def hung_up(client):
    """Whether the server has closed the connection; waits for a tenth of a second."""
    client.settimeout(0.1)
    try:
        return client.recv(1000) == b""
    except TimeoutError:
        return False
    except OSError:
        return True


def flat_png(width, height):
    """A picture of zeros: a thousandth of its pixels in bytes."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(3 * width + 1)) for _ in range(height)) + packer.flush()
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b64encode(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", rows) + chunk(b"IEND", b"")).decode()


def request(pictures):
    return json.dumps({"images": pictures, "prompts": [""] * len(pictures)}).encode()


def test_d11_too_many_pixels_of_one_picture_are_refused_before_they_are_unpacked(monkeypatch):
    monkeypatch.setattr(wire, "MAX_PICTURE_PIXELS", 99)

    with pytest.raises(WireError, match="10 x 10 are more than 99 pixels"):
        decode_request(request([flat_png(10, 10)]))


def test_d11_too_many_pictures_are_refused_before_any_is_opened():
    with pytest.raises(WireError, match="1025 pictures are more than 1024; send fewer at once"):
        decode_request(request(["not a picture"] * 1025))


def test_d11_a_body_is_given_back_before_pictures_are_decoded():
    body = bytearray(request([flat_png(4, 4)]))

    decode_request(body)

    assert len(body) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "sent", [b"", b"POST /v1/score HTTP/1.1\r\nX: ", b"POST /v1/score HTTP/1.1\r\nContent-Length: 99\r\n\r\n"]
)
def test_d11_a_client_that_drips_bytes_has_a_deadline_for_the_whole_request(serving, monkeypatch, sent):
    monkeypatch.setattr(server, "REQUEST_SECONDS", 0.6)

    with serving(length) as url, connect(url) as client:
        client.sendall(sent)
        started = time.monotonic()
        while time.monotonic() - started < 20 and not hung_up(client):
            with suppress(OSError):
                client.sendall(b"x")

    assert time.monotonic() - started < 5


def test_d11_when_all_connections_are_taken_the_oldest_unfinished_one_goes(serving, monkeypatch):
    monkeypatch.setattr(admission, "MAX_CONNECTIONS", 4)

    with serving(length) as url:
        idle = [connect(url) for _ in range(4)]
        time.sleep(0.2)
        assert far(url)(IMAGES, PROMPTS).tolist() == [1.0, 1.0]
        assert idle[0].recv(1) == b""
        for client in idle:
            client.close()


def test_d11_bodies_in_memory_are_bounded_and_unfinished_ones_make_room(serving, monkeypatch):
    monkeypatch.setattr(admission, "MAX_BODY_MEMORY", 100_000)
    head = b"POST /v1/score HTTP/1.1\r\nContent-Length: 99000\r\n\r\n"

    with serving(length) as url:
        slow = connect(url)
        slow.sendall(head + b"x" * 95_000)
        time.sleep(0.2)
        images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)
        assert far(url)(images, PROMPTS).tolist() == [1.0, 1.0]
        assert slow.recv(1) == b""
        slow.close()


def test_d11_a_request_larger_than_all_memory_is_asked_to_come_back(serving, monkeypatch):
    monkeypatch.setattr(admission, "MAX_BODY_MEMORY", 1000)
    images = np.random.default_rng(0).integers(0, 256, (2, 64, 64, 3), dtype=np.uint8)

    with serving(length) as url, pytest.raises(RetryableError, match="503"):
        far(url, retries=0)(images, PROMPTS)


@pytest.mark.parametrize("length_header", ["9" * 5000, "-1", "1e3", "+5", " 5 5", "٣"])
def test_d11_a_length_that_is_none_is_refused(serving, length_header):
    with serving(length) as url, connect(url) as client:
        client.sendall(b"POST /v1/score HTTP/1.1\r\nContent-Length: " + length_header.encode() + b"\r\n\r\n")
        answer = client.recv(1000)

    assert answer.startswith((b"HTTP/1.1 411", b"HTTP/1.1 413"))


def test_d11_control_characters_of_the_network_never_reach_the_log(serving, capsys):
    with serving(length) as url, connect(url) as client:
        client.sendall(b"GET /\x1b[2J\x07\x9b31m HTTP/1.1\r\n\r\n")
        client.recv(1000)
        place = urlsplit(url)
        connection = HTTPConnection(place.hostname, place.port, timeout=10)
        connection.request("POST", "/v1/score", b"{\x1b]0;owned\x07")
        answer = connection.getresponse().read()

    log = capsys.readouterr().err
    assert "-> 404" in log
    assert "-> 400" in log
    assert all(line.isprintable() for line in [*log.splitlines(), answer.decode()])


def test_d11_a_token_is_wanted_of_everyone_but_health_checks(serving, monkeypatch):
    monkeypatch.setenv("SCORER_TOKEN", "s3cret")
    with serving(length, token="s3cret") as url:
        assert far(url, token_env="SCORER_TOKEN")(IMAGES, PROMPTS).tolist() == [1.0, 1.0]
        with pytest.raises(UserError, match=r"401 .*token_env names the environment variable"):
            far(url)
        monkeypatch.setenv("SCORER_TOKEN", "guessed")
        with pytest.raises(UserError, match="401"):
            far(url, token_env="SCORER_TOKEN")
        monkeypatch.delenv("SCORER_TOKEN")
        with pytest.raises(UserError, match=r"wants the token in \$SCORER_TOKEN, which is not set here"):
            far(url, token_env="SCORER_TOKEN")
        place = urlsplit(url)
        connection = HTTPConnection(place.hostname, place.port, timeout=10)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


@pytest.fixture
def certificate(tmp_path):
    """A certificate for 127.0.0.1 that it has signed itself."""
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=localhost"]
    command += ["-addext", "subjectAltName=IP:127.0.0.1", "-out", str(files[0]), "-keyout", str(files[1])]
    subprocess.run(command, check=True, capture_output=True)
    return files


@pytest.mark.slow
def test_d11_https_is_served_with_a_deadline_for_the_handshake_too(serving, certificate, monkeypatch):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    monkeypatch.setattr(server, "REQUEST_SECONDS", 2.0)

    with serving(length, tls=context) as plain:
        url = plain.replace("http:", "https:")
        with connect(url) as silent:
            with pytest.raises(UserError, match="has no certificate that is trusted here"):
                far(url)
            monkeypatch.setenv("SSL_CERT_FILE", str(certificate[0]))
            assert far(url)(IMAGES, PROMPTS).tolist() == [1.0, 1.0]
            assert silent.recv(1) == b""  # its handshake never came
        place = urlsplit(url)
        trusting = ssl.create_default_context(cafile=str(certificate[0]))
        connection = HTTPSConnection(place.hostname, place.port, timeout=10, context=trusting)
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


@pytest.mark.slow
def test_d11_sigterm_drains_within_20_seconds_whoever_holds_on(rft_serve, tmp_path):
    drain_seconds = 2.0
    (tmp_path / "endless_scorer.py").write_text(
        "import pathlib, time\n"
        "from reward_finetuning.rewards.remote import server\n"
        f"server.DRAIN_SECONDS = {drain_seconds}\n"
        "def score(images, prompts): pathlib.Path(prompts[0]).touch(); time.sleep(600)\n"
    )
    started_file = tmp_path / "started"
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])}

    with rft_serve("endless", "--use", "endless_scorer:score", env=environment) as (process, url):
        idle = [connect(url) for _ in range(5)]
        scored = threading.Thread(
            target=refused, args=(far(url, retries=0, timeout_seconds=60), [str(started_file), "b"])
        )
        scored.start()
        while not started_file.exists():
            time.sleep(0.01)
        started = time.monotonic()
        process.send_signal(signal.SIGTERM)
        rest, _ = process.communicate(timeout=40)
        seconds = time.monotonic() - started
        scored.join()
        for client in idle:
            client.close()

    assert seconds - drain_seconds + server.DRAIN_SECONDS < 20
    assert process.returncode == 0
    assert "1 requests were cut off" in rest


def refused(scorer, prompts):
    with pytest.raises(RetryableError):
        scorer(IMAGES, prompts)


HOSTILE_SECONDS = 10.0


@pytest.mark.slow
def test_d11_100_hostile_clients_take_neither_memory_nor_the_honest_ones_turn(rft_serve):
    over_the_limit = request([flat_png(4096, 4096)] * 5)
    one_too_large = request([flat_png(16_000, 16_000)])
    head = b"POST /v1/score HTTP/1.1\r\nContent-Length: %d\r\n\r\n"

    def post(body):
        def attack(client):
            client.sendall(head % len(body) + body)
            client.recv(1000)

        return attack

    def drip(start):
        def attack(client):
            client.sendall(start)
            while time.monotonic() < until:
                client.sendall(b"x")
                time.sleep(0.2)

        return attack

    def stuff(client):
        client.sendall(head % server.MAX_BODY_BYTES)
        for _ in range(200):
            client.sendall(b" " * 2**20)

    attacks = [
        *[post(over_the_limit)] * 29,
        *[post(one_too_large)] * 15,
        *[post(request(["AAAA"] * 10_000))] * 5,
        *[post(b'{"images": ' + b"[" * 500_000)] * 5,
        *[drip(b"POST /v1/score HTTP/1.1\r\nX: ")] * 15,
        *[drip(head % 10_000_000)] * 15,
        *[drip(b"")] * 6,
        *[stuff] * 10,
    ]
    assert len(attacks) == 100

    def keep(url, attack):
        while time.monotonic() < until:
            try:
                with connect(url) as client:
                    attack(client)
            except OSError:
                time.sleep(0.05)

    waits = []
    with rft_serve("jpeg_compressibility") as (process, url):
        threading.Thread(target=process.stderr.read, daemon=True).start()
        until = time.monotonic() + HOSTILE_SECONDS
        scorer = far(url, timeout_seconds=20, retries=4)
        threads = [threading.Thread(target=keep, args=(url, attack), daemon=True) for attack in attacks]
        for thread in threads:
            thread.start()
        while time.monotonic() < until:
            started = time.monotonic()
            assert len(scorer(IMAGES, PROMPTS)) == 2
            waits.append(time.monotonic() - started)
            time.sleep(0.2)
        status = Path(f"/proc/{process.pid}/status").read_text()
        peak = next(int(line.split()[1]) / 1e6 for line in status.splitlines() if line.startswith("VmHWM"))
    for thread in threads:  # their server is gone, and none of them waits for an answer
        thread.join(10)

    print(f"peak memory {peak:.2f} GB, {len(waits)} honest requests, the longest {max(waits):.2f} s")
    assert peak < 1.5
    assert max(waits) < 5
