"""What a served scorer and its client say to each other.

    GET  /healthz     200 when it can score
    GET  /v1/scorer   {"name": "pickscore", "digest": "<of its weights, or empty>"}
    POST /v1/score    {"images": ["<PNG in base64>", ...], "prompts": ["a cat", ...]}
                   -> {"scores": [0.21, null, ...], "digest": "<the same>"}

A score is a JSON number, null where it is NaN or infinite, which JSON has no word for. `digest` in the answer may be
left out; given, it shows that weights were swapped under a running job. Errors are {"error": "..."} with a status: 4xx
says that this request will never do (but for 408 and 429), 5xx that another try may.

Why PNG in JSON: every language reads and writes both, a picture says its own size and checks its own sums, nothing is
lost, and nothing that arrives can run code. A grainy picture of 512 x 512 costs 40 ms to write and 16 ms to read on one
CPU core (measured), and 0.7 MB on the network.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Sequence
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray

HEALTH, SCORER, SCORE = "/healthz", "/v1/scorer", "/v1/score"

MAX_PIXELS = 2**27
"""Of one request: 128 pictures of 1024 x 1024, 400 MB in memory."""

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
"""How PIL says that a PNG is broken."""


class WireError(Exception):
    """A message that is not of this format; the text says what it has."""


def encode_request(images: NDArray[np.uint8], prompts: Sequence[str]) -> bytes:
    """Pictures [B, H, W, 3] sRGB and their prompts [B] as the body of POST /v1/score."""
    return json.dumps({"images": [_png(image) for image in images], "prompts": list(prompts)}).encode()


def decode_request(body: bytes) -> tuple[NDArray[np.uint8], list[str]]:
    """Pictures [B, H, W, 3] and prompts [B] of a request; it may come from anyone.

    Raises:
        WireError: it is something else; the text says what.
    """
    message = _object(body)
    images, prompts = message.get("images"), message.get("prompts")
    for key, values in {"images": images, "prompts": prompts}.items():
        if not isinstance(values, list) or not all(isinstance(value, str) for value in values):
            raise WireError(f"`{key}` must be a list of texts; the request has {', '.join(message) or 'nothing'}")
    assert isinstance(images, list)
    assert isinstance(prompts, list)
    if len(images) != len(prompts) or not images:
        raise WireError(f"one picture a prompt is needed, got {len(images)} images and {len(prompts)} prompts")
    return np.stack(_pictures(images)), prompts


def encode_scores(scores: NDArray[np.float64], digest: str) -> bytes:
    """The answer's body."""
    return json.dumps({"scores": [s if math.isfinite(s) else None for s in scores.tolist()], "digest": digest}).encode()


def decode_scores(body: bytes) -> tuple[list[Any], str | None]:
    """Scores, null as NaN, and the digest where it is given; that they are numbers, one a picture, is checked later.

    Raises:
        WireError: it is something else; the text says what.
    """
    message = _object(body)
    if not isinstance(message.get("scores"), list):
        raise WireError(f"the answer has no list `scores`; it has {', '.join(message) or 'nothing'}")
    return [math.nan if score is None else score for score in message["scores"]], message.get("digest")


def decode_description(body: bytes) -> tuple[str, str]:
    """Name and digest of GET /v1/scorer.

    Raises:
        WireError: it is something else; the text says what.
    """
    message = _object(body)
    name, digest = message.get("name"), message.get("digest")
    if not isinstance(name, str) or not isinstance(digest, str):
        raise WireError(f"`name` and `digest` must be texts; the answer has {', '.join(message) or 'nothing'}")
    return name, digest


def _object(body: bytes) -> dict[str, Any]:
    try:
        message = json.loads(body)
    except (ValueError, RecursionError):
        raise WireError(f"no JSON: {body[:80]!r}") from None
    if not isinstance(message, dict):
        raise WireError(f"no JSON object: {body[:80]!r}")
    return message


def _png(image: NDArray[np.uint8]) -> str:
    from PIL import Image

    file = BytesIO()
    Image.fromarray(image).save(file, format="PNG", compress_level=1)
    return b64encode(file.getvalue()).decode()


def _pictures(texts: Sequence[str]) -> list[NDArray[np.uint8]]:
    from PIL import Image

    pictures: list[NDArray[np.uint8]] = []
    size = None
    for number, text in enumerate(texts):
        try:
            with Image.open(BytesIO(b64decode(text, validate=True)), formats=["PNG"]) as image:
                size = size or image.size
                if image.mode != "RGB" or image.size != size:
                    raise ValueError(f"it is {image.mode} of {image.size}, RGB of {size} is needed")
                if size[0] * size[1] * len(texts) > MAX_PIXELS:
                    raise ValueError(f"{len(texts)} of {size} are more than {MAX_PIXELS} pixels; send fewer at once")
                pictures.append(np.asarray(image))
        except (*_UNREADABLE, Image.DecompressionBombError) as error:
            raise WireError(f"image {number} cannot be used: {error}") from None
    return pictures
