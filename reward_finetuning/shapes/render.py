"""Renderer of scenes: flat shapes with smooth edges on a nearly white background."""

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.shapes.scene import BACKGROUND, COLOURS, Item, Kind, Place, Scene

SIZE = 32
"""Height and width of a picture in pixels."""

_SUPERSAMPLING = 4
_GAP = 2.0  # pixels between the boxes of two shapes, so that a VAE does not blur them into one
_MARGIN = 1.0  # pixels between a shape and the border
# Half the side of the box of a shape in pixels (minimum, maximum), by the number of shapes in the picture.
_HALF_SIDES = {1: (5.0, 8.0), 2: (4.5, 6.5), 3: (4.3, 5.5), 4: (4.3, 5.0)}
_ARM = 0.36  # half the width of the arm of a cross, as a share of half its side
_ATTEMPTS = 30  # attempts to place one shape before the layout is sampled again


def inside(kind: Kind, x: NDArray[np.float64], y: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Whether points are inside the shape with the box [-1, 1] x [-1, 1], y downward.

    Args:
        kind: kind of the shape.
        x: [...] horizontal coordinate in half sides.
        y: [...] vertical coordinate in half sides; broadcasts with `x`.

    Returns:
        [...] bool.
    """
    box = (np.abs(x) <= 1) & (np.abs(y) <= 1)
    match kind:
        case "square":
            return box
        case "circle":
            return x**2 + y**2 <= 1
        case "triangle":
            return box & (np.abs(x) <= (y + 1) / 2)
        case "cross":
            return box & ((np.abs(x) <= _ARM) | (np.abs(y) <= _ARM))


def render(scene: Scene, rng: np.random.Generator) -> NDArray[np.uint8]:
    """A picture of `scene` with random sizes and positions. Shapes do not touch.

    Returns:
        [32, 32, 3] uint8 sRGB.
    """
    shapes = [item for item in scene.items for _ in range(item.number)]
    boxes = None
    while boxes is None:
        boxes = _layout(shapes, rng)
    picture = np.tile(np.array(BACKGROUND, dtype=np.float64), (SIZE, SIZE, 1))
    for shape, (x, y, half_side) in zip(shapes, boxes, strict=True):
        coverage = _coverage(shape.kind, x, y, half_side)[..., None]
        picture = (1 - coverage) * picture + coverage * np.array(COLOURS[shape.colour])
    return picture.round().astype(np.uint8)


def _layout(shapes: list[Item], rng: np.random.Generator) -> list[tuple[float, float, float]] | None:
    """Centre x, y and half side of each shape in pixels; None if a shape does not fit."""
    boxes: list[tuple[float, float, float]] = []
    for shape in shapes:
        half_side = rng.uniform(*_HALF_SIDES[len(shapes)])
        for _ in range(_ATTEMPTS):
            x, y = (rng.uniform(*limits) for limits in _limits(shape.place, half_side))
            if all(max(abs(x - u), abs(y - v)) >= half_side + w + _GAP for u, v, w in boxes):
                boxes.append((x, y, half_side))
                break
        else:
            return None
    return boxes


def _limits(place: Place | None, half_side: float) -> tuple[tuple[float, float], tuple[float, float]]:
    """Limits of the centre in pixels, (x limits, y limits): the whole picture, or the third of `place`."""
    low, high = half_side + _MARGIN, SIZE - half_side - _MARGIN
    anywhere, first, last = (low, high), (low, max(low, SIZE / 3)), (min(high, SIZE * 2 / 3), high)
    match place:
        case None:
            return anywhere, anywhere
        case "left":
            return first, anywhere
        case "right":
            return last, anywhere
        case "top":
            return anywhere, first
        case "bottom":
            return anywhere, last


def _coverage(kind: Kind, x: float, y: float, half_side: float) -> NDArray[np.float64]:
    """[SIZE, SIZE] share of each pixel inside the shape."""
    n = SIZE * _SUPERSAMPLING
    points = (np.arange(n) + 0.5) / _SUPERSAMPLING
    covered = inside(kind, (points[None, :] - x) / half_side, (points[:, None] - y) / half_side)
    return covered.reshape(SIZE, _SUPERSAMPLING, SIZE, _SUPERSAMPLING).mean(axis=(1, 3))
