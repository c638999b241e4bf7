"""The messages between a served scorer and its client.

    GET  /healthz     200 when it can score
    GET  /v1/scorer   {"name": "pickscore", "digest": "<of its weights, or empty>"}
    POST /v1/score    {"images": ["<PNG in base64>", ...], "prompts": ["a cat", ...]}
                   -> {"scores": [0.21, null, ...], "digest": "<the same>"}

A score is a JSON number, or null where it is NaN or infinite, which JSON cannot express. `digest` in the answer may be
left out; if it is there, it shows that weights were exchanged under a running job. Errors are {"error": "..."} with a
status; reward_finetuning.server_errors says which ones are worth a retry.

Why PNG in JSON: every language reads and writes both, a picture states its own size and has its own checksums, nothing
is lost, and nothing that arrives can run code. A grainy picture of 512 x 512 costs 40 ms to write and 16 ms to read on
one CPU core (measured), and 0.7 MB on the network.
"""

from __future__ import annotations

import json
import math
import struct
import zlib
from base64 import b64decode, b64encode
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from io import BytesIO
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_core import from_json

from reward_finetuning.server_errors import one_line

HEALTH, SCORER, SCORE = "/healthz", "/v1/scorer", "/v1/score"

MAX_PICTURES = 1024
"""Of one request."""

MAX_PIXELS = 2**26
"""Of one request: 64 pictures of 1024 x 1024, 200 MB in memory."""

MAX_PICTURE_PIXELS = 2**24
"""Of one picture: 4096 x 4096. While a picture is decoded it takes about ten bytes per pixel."""

_UNREADABLE = (OSError, SyntaxError, ValueError, EOFError, struct.error, zlib.error)
"""How PIL reports that a PNG is broken."""


class WireError(Exception):
    """A message that is not of this format; the text says what it has."""


class _Message(BaseModel):
    """A JSON object. Fields that it has besides are ignored; the description of a field completes "must be"."""

    model_config = ConfigDict(strict=True)


class _Request(_Message):
    images: list[str] = Field(description="a list of texts")
    prompts: list[str] = Field(description="a list of texts")


class _Scores(_Message):
    # Whether they are numbers, one per picture, is checked together with those of scorers that run here.
    scores: list[Any] = Field(description="a list")
    digest: str | None = Field(default=None, description="a text")


class _Description(_Message):
    name: str = Field(description="a text")
    digest: str = Field(description="a text")


M = TypeVar("M", bound=_Message)


def encode_request(images: NDArray[np.uint8], prompts: Sequence[str]) -> bytes:
    """Pictures [B, H, W, 3] sRGB and their prompts [B] as the body of POST /v1/score."""
    return json.dumps({"images": [png(image) for image in images], "prompts": list(prompts)}).encode()


@dataclass(frozen=True, slots=True)
class Request:
    """A request whose pictures are still PNGs."""

    images: Sequence[str]
    prompts: Sequence[str]
    size: tuple[int, int]
    """Width and height that every picture must have."""

    @property
    def num_pixels(self) -> int:
        """Of all pictures together."""
        return len(self.images) * self.size[0] * self.size[1]

    def pictures(self) -> NDArray[np.uint8]:
        """Its pictures [B, H, W, 3].

        Raises:
            WireError: one of them is damaged, or of another size than the first one.
        """
        width, height = self.size
        pictures = np.empty((len(self.images), height, width, 3), np.uint8)
        for number, text in enumerate(self.images):
            with _opened(number, text) as image:
                if image.mode != "RGB" or image.size != self.size:
                    raise ValueError(f"it is {image.mode} of {image.size}, RGB of {self.size} is needed")
                pictures[number] = np.asarray(image)
        return pictures


def decode_request(body: bytes | bytearray) -> tuple[NDArray[np.uint8], list[str]]:
    """Pictures [B, H, W, 3] and prompts [B] of a request.

    Raises:
        WireError: see `parse_request` and Request.pictures.
    """
    request = parse_request(body)
    return request.pictures(), list(request.prompts)


def parse_request(body: bytes | bytearray) -> Request:
    """A request, which may come from anyone. Only the header of the first picture is read, which says the size of all.

    Args:
        body: of POST /v1/score. A bytearray is emptied once it is parsed: it may have a quarter of a gigabyte.

    Raises:
        WireError: it is something else, or is larger than the limits of this module; the text says what.
    """
    request = _parsed(_Request, body, "request")
    if isinstance(body, bytearray):
        body.clear()
    images, prompts = request.images, request.prompts
    if len(images) != len(prompts) or not images:
        raise WireError(f"one picture a prompt is needed, got {len(images)} images and {len(prompts)} prompts")
    if len(images) > MAX_PICTURES:
        raise WireError(f"{len(images)} pictures are more than {MAX_PICTURES}; send fewer at once")
    with _opened(0, images[0]) as first:
        width, height = first.size
        _check_size(width, height, len(images))
    return Request(images, prompts, (width, height))


def encode_scores(scores: NDArray[np.float64], digest: str) -> bytes:
    """The answer's body."""
    return json.dumps({"scores": [s if math.isfinite(s) else None for s in scores.tolist()], "digest": digest}).encode()


def decode_scores(body: bytes) -> tuple[list[Any], str | None]:
    """Scores, null as NaN, and the digest if it is given.

    Raises:
        WireError: it is something else; the text says what.
    """
    answer = _parsed(_Scores, body, "answer")
    return [math.nan if score is None else score for score in answer.scores], answer.digest


def decode_description(body: bytes) -> tuple[str, str]:
    """Name and digest of GET /v1/scorer.

    Raises:
        WireError: it is something else; the text says what.
    """
    description = _parsed(_Description, body, "answer")
    return description.name, description.digest


def _parsed(kind: type[M], body: bytes | bytearray, what: str) -> M:
    try:
        message = from_json(body)
    except ValueError:
        raise WireError(f"no JSON: {bytes(body[:80])!r}") from None
    if not isinstance(message, dict):
        raise WireError(f"no JSON object: {bytes(body[:80])!r}")
    try:
        return kind.model_validate(message)
    except ValidationError as error:
        field = str(error.errors(include_url=False, include_context=False, include_input=False)[0]["loc"][0])
        given = one_line(", ".join(islice(message, 20)), 100) or "nothing"
        raise WireError(f"`{field}` must be {kind.model_fields[field].description}; the {what} has {given}") from None


def png(image: NDArray[np.uint8]) -> str:
    """A picture [H, W, 3] as PNG in base64."""
    from PIL import Image

    file = BytesIO()
    Image.fromarray(image).save(file, format="PNG", compress_level=1)
    return b64encode(file.getvalue()).decode()


@contextmanager
def _opened(number: int, text: str) -> Iterator[Any]:
    """A picture as PIL's image, of which only the header is read yet.

    Raises:
        WireError: it cannot be read, or the block raises ValueError.
    """
    from PIL import Image

    try:
        with Image.open(BytesIO(b64decode(text, validate=True)), formats=["PNG"]) as image:
            yield image
    except (*_UNREADABLE, Image.DecompressionBombError) as error:
        raise WireError(f"image {number} cannot be used: {one_line(error)}") from None


def _check_size(width: int, height: int, num: int) -> None:
    if width * height > MAX_PICTURE_PIXELS:
        raise ValueError(f"{width} x {height} are more than {MAX_PICTURE_PIXELS} pixels")
    if width * height * num > MAX_PIXELS:
        raise ValueError(f"{num} of {(width, height)} are more than {MAX_PIXELS} pixels; send fewer at once")
