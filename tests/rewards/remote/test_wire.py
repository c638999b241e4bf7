import json
import struct
import zlib
from base64 import b64encode
from io import BytesIO

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from reward_finetuning.rewards.remote import wire
from reward_finetuning.rewards.remote.wire import (
    WireError,
    decode_request,
    decode_scores,
    encode_request,
    encode_scores,
)


def png(size=(4, 4), mode="RGB", form="PNG"):
    file = BytesIO()
    Image.new(mode, size).save(file, form)
    return b64encode(file.getvalue()).decode()


def huge_png():
    """A PNG of a few bytes that says it has 60,000 x 60,000 pixels."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = chunk(b"IHDR", struct.pack(">IIBBBBB", 60_000, 60_000, 8, 2, 0, 0, 0))
    return b64encode(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")).decode()


@given(
    st.tuples(st.integers(1, 3), st.integers(1, 9), st.integers(1, 9)),
    st.integers(0, 2**32),
    st.text(st.characters(exclude_categories=["Cs"])),
)
def test_any_pictures_and_prompts_survive_the_journey(shape, seed, prompt):
    images = np.random.default_rng(seed).integers(0, 256, (*shape, 3), dtype=np.uint8)

    received, prompts = decode_request(encode_request(images, [prompt] * len(images)))

    assert received.dtype == np.uint8
    assert (received == images).all()
    assert prompts == [prompt] * len(images)


@given(st.lists(st.floats()))
def test_any_float_survives_but_the_sign_of_infinity(scores):
    received, digest = decode_scores(encode_scores(np.array(scores, dtype=np.float64), "d"))

    assert digest == "d"
    assert np.array_equal(
        np.array(received, dtype=np.float64),
        np.where(np.isfinite(scores), scores, np.nan) if scores else np.zeros(0),
        equal_nan=True,
    )


def test_an_answer_is_json_of_the_strict_kind():
    def never(constant):
        raise AssertionError(constant)

    body = encode_scores(np.array([1.5, np.nan, np.inf]), "")

    assert json.loads(body, parse_constant=never) == {"scores": [1.5, None, None], "digest": ""}


@pytest.mark.parametrize(
    ("message", "why"),
    [
        ("a text", "no JSON object: b'\"a text"),
        ([1], "no JSON object"),
        ({}, "`images` must be a list of texts; the request has nothing"),
        ({"images": [png()]}, "`prompts` must be a list of texts; the request has images"),
        ({"images": [1], "prompts": ["a"]}, "`images` must be a list of texts"),
        ({"images": [], "prompts": []}, "got 0 images and 0 prompts"),
        ({"images": [png()], "prompts": ["a", "b"]}, "got 1 images and 2 prompts"),
        ({"images": ["%%%"], "prompts": ["a"]}, "image 0 cannot be used"),
        ({"images": [png(form="JPEG")], "prompts": ["a"]}, "image 0 cannot be used: cannot identify"),
        ({"images": [png()[:40]], "prompts": ["a"]}, "image 0 cannot be used"),
        ({"images": [png(mode="RGBA")], "prompts": ["a"]}, "image 0 cannot be used: it is RGBA"),
        ({"images": [png(), png((4, 5))], "prompts": ["a", "b"]}, r"image 1 cannot be used: it is RGB of \(4, 5\)"),
        ({"images": [huge_png()], "prompts": ["a"]}, "image 0 cannot be used"),
    ],
)
def test_a_request_of_another_form_is_refused_with_the_reason(message, why):
    with pytest.raises(WireError, match=why):
        decode_request(json.dumps(message).encode())


def test_what_is_no_json_is_shown():
    with pytest.raises(WireError, match=r"no JSON: b'\\x80\\x04\\x95'"):  # how a pickle begins
        decode_request(b"\x80\x04\x95")


def test_more_pixels_than_memory_should_hold_are_refused_before_they_are_unpacked(monkeypatch):
    monkeypatch.setattr(wire, "MAX_PIXELS", 31)

    with pytest.raises(WireError, match=r"2 of \(4, 4\) are more than 31 pixels; send fewer at once"):
        decode_request(json.dumps({"images": [png(), png()], "prompts": ["a", "b"]}).encode())
