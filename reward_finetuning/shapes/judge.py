"""How well a picture shows what its prompt asks for, judged by its pixels alone."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from reward_finetuning.shapes.scene import Item, Place, Scene, parse
from reward_finetuning.shapes.seen import MIN_IOU, Seen, look

_CLEAN_IOU = 0.8  # from here on a shape counts as cleanly drawn: the renderer's own reach it
_PURE = 0.8  # share of one colour in a shape that counts as being of that colour
_EXACT_KIND = 0.5  # of the kind's credit: a shape more ragged than this is not right
_INSIDE, _OUTSIDE = 0.42, 0.6  # distance of a centre from the named side: all the credit before, none after


@dataclass(frozen=True, slots=True)
class ShapesScore:
    """What a picture earns, each part in [0, 1].

    A part is its credit summed over the shapes asked for, divided by how many were asked for or drawn, whichever is
    more: a missing and a superfluous shape cost alike, in every part.
    """

    reward: float  # the mean of the parts, squared
    exact: bool  # everything asked for is there, and nothing else
    number: float
    kind: float
    colour: float
    place: float | None  # None where no place is asked for


def judge(images: NDArray[np.uint8], prompts: Sequence[str]) -> list[ShapesScore]:
    """Scores each picture against its prompt.

        reward = (mean of number, kind, colour and, where asked, place)^2

    Squared, because a picture that is half right twice is worth less than one that is wholly right.

    Args:
        images: [B, H, W, 3] uint8 sRGB.
        prompts: B prompts of this world.

    Raises:
        ValueError: the images are of another form, or a prompt is not of this world.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[-1] != 3:
        raise ValueError(f"images must be uint8 [B, H, W, 3], got {images.dtype} {list(images.shape)}")
    if len(images) != len(prompts):
        raise ValueError(f"every image needs its prompt, got {len(images)} images and {len(prompts)} prompts")
    scenes = {prompt: parse(prompt) for prompt in set(prompts)}
    return [_score(seen, scenes[prompt]) for seen, prompt in zip(look(images), prompts, strict=True)]


def _score(seen: list[Seen], scene: Scene) -> ShapesScore:
    wanted = [item for item in scene.items for _ in range(item.number)]
    shapes = [shape for shape in seen if shape.kind is not None]
    # [wanted, shapes, (kind, colour, place)]
    credit = np.array([[_credits(shape, item) for shape in shapes] for item in wanted]).reshape(len(wanted), -1, 3)
    rows, columns = linear_sum_assignment(credit.sum(axis=2), maximize=True)
    matched = credit[rows, columns]  # [matches, 3]
    most = max(len(wanted), len(seen))  # blobs of no kind count as drawn, and earn nothing
    number = len(matched) / most
    kind, colour, place = (float(total) / most for total in matched.sum(axis=0))
    asked = wanted[0].place is not None
    parts = [number, kind, colour, *([place] if asked else [])]
    right = all(_is_right(shapes[column], wanted[row]) for row, column in zip(rows, columns, strict=True))
    return ShapesScore(
        reward=(sum(parts) / len(parts)) ** 2,
        exact=len(matched) == most and right,
        number=number,
        kind=kind,
        colour=colour,
        place=place if asked else None,
    )


def _credits(shape: Seen, item: Item) -> tuple[float, float, float]:
    """What `shape` earns in the place of `item`: kind, colour, place, each in [0, 1]."""
    clean = min(1.0, (shape.ious[item.kind] - MIN_IOU) / (_CLEAN_IOU - MIN_IOU))
    return (
        clean if shape.kind == item.kind else 0.0,
        min(1.0, shape.purity / _PURE) if shape.colour == item.colour else 0.0,
        _place_credit(shape, item.place),
    )


def _is_right(shape: Seen, item: Item) -> bool:
    kind, colour, place = _credits(shape, item)
    return kind >= _EXACT_KIND and colour == 1 and place == 1


def _place_credit(shape: Seen, place: Place | None) -> float:
    if place is None:
        return 1.0
    distance = {"left": shape.x, "right": 1 - shape.x, "top": shape.y, "bottom": 1 - shape.y}[place]
    return float(np.clip((_OUTSIDE - distance) / (_OUTSIDE - _INSIDE), 0, 1))
