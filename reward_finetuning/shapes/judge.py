"""Score of a picture for its prompt, computed from the pixels."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from reward_finetuning.shapes.detection import MIN_IOU, Blob, detect
from reward_finetuning.shapes.scene import Item, Place, Scene, parse

_CLEAN_IOU = 0.8  # IoU with full credit for the kind; rendered shapes reach it
_PURE = 0.8  # purity with full credit for the colour
_EXACT_KIND = 0.5  # smallest credit for the kind of an exact shape
_INSIDE, _OUTSIDE = 0.42, 0.6  # distance of a centre from the side of its place: full credit, no credit


@dataclass(frozen=True, slots=True)
class ShapesScore:
    """Score of a picture; each part is in [0, 1].

    A part is the sum of the credits of all matched shapes, divided by the number of requested or detected shapes,
    whichever is larger. A missing shape and a superfluous shape reduce every part by the same amount.
    """

    reward: float
    """The mean of the parts, squared."""

    exact: bool
    """The picture contains all requested shapes and no others."""

    number: float
    kind: float
    colour: float
    place: float | None
    """None if the prompt has no place."""


def judge(images: NDArray[np.uint8], prompts: Sequence[str]) -> list[ShapesScore]:
    """Score each picture for its prompt.

        reward = (mean of number, kind, colour and, if the prompt has one, place)^2

    The square makes two half-correct pictures worth less than one correct picture.

    Args:
        images: [B, H, W, 3] uint8 sRGB.
        prompts: B prompts of this world.

    Raises:
        ValueError: the images have another shape or dtype, or a prompt does not belong to this world.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be uint8 [B, H, W, 3], got {images.dtype} {list(images.shape)}")
    if len(images) != len(prompts):
        raise ValueError(f"every image needs its prompt, got {len(images)} images and {len(prompts)} prompts")
    scenes = {prompt: parse(prompt) for prompt in set(prompts)}
    return [_score(blobs, scenes[prompt]) for blobs, prompt in zip(detect(images), prompts, strict=True)]


def _score(blobs: list[Blob], scene: Scene) -> ShapesScore:
    requested = [item for item in scene.items for _ in range(item.number)]
    shapes = [blob for blob in blobs if blob.kind is not None]
    # [requested, shapes, (kind, colour, place)]
    credit = np.array([[_credits(shape, item) for shape in shapes] for item in requested])
    credit = credit.reshape(len(requested), -1, 3)
    rows, columns = linear_sum_assignment(credit.sum(axis=2), maximize=True)
    matched = credit[rows, columns]  # [matches, 3]
    most = max(len(requested), len(blobs))  # a blob without a kind counts as a shape without credit
    number = len(matched) / most
    kind, colour, place = (float(total) / most for total in matched.sum(axis=0))
    has_place = requested[0].place is not None
    parts = [number, kind, colour, *([place] if has_place else [])]
    all_exact = all(_is_exact(shapes[column], requested[row]) for row, column in zip(rows, columns, strict=True))
    return ShapesScore(
        reward=(sum(parts) / len(parts)) ** 2,
        exact=len(matched) == most and all_exact,
        number=number,
        kind=kind,
        colour=colour,
        place=place if has_place else None,
    )


def _credits(shape: Blob, item: Item) -> tuple[float, float, float]:
    """Credits of `shape` for `item`: kind, colour and place, each in [0, 1]."""
    clean = min(1.0, (shape.ious[item.kind] - MIN_IOU) / (_CLEAN_IOU - MIN_IOU))
    return (
        clean if shape.kind == item.kind else 0.0,
        min(1.0, shape.purity / _PURE) if shape.colour == item.colour else 0.0,
        _place_credit(shape, item.place),
    )


def _is_exact(shape: Blob, item: Item) -> bool:
    kind, colour, place = _credits(shape, item)
    return kind >= _EXACT_KIND and colour == 1 and place == 1


def _place_credit(shape: Blob, place: Place | None) -> float:
    if place is None:
        return 1.0
    distance = {"left": shape.x, "right": 1 - shape.x, "top": shape.y, "bottom": 1 - shape.y}[place]
    return float(np.clip((_OUTSIDE - distance) / (_OUTSIDE - _INSIDE), 0, 1))
