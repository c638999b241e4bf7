"""Finds the shapes in a picture: where they are, of which colour and kind, and how cleanly drawn.

Made for the blurred and broken pictures of a half-trained model: a pixel belongs to a shape when it is nearer to a
colour of the palette than to the background, whatever shapes touch are one, and a blob that is no shape is reported
as such.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from reward_finetuning.shapes.render import inside
from reward_finetuning.shapes.scene import BACKGROUND, COLOURS, KINDS, Kind

MIN_AREA = 8
"""Pixels; smaller specks are not looked at. The smallest shape that is ever drawn covers 27."""

MIN_IOU = 0.5
"""A blob whose best kind agrees with it less than this is of no kind."""

_MAX_SIDE = 0.7  # of the picture's side: a filled border or background is no square
_MIN_SIDE = 4  # pixels: below this the kinds look alike
_COLOUR_NAMES = tuple(COLOURS)
_BACKGROUND = np.array(BACKGROUND, dtype=np.float32)
_DIRECTIONS = np.array([COLOURS[name] for name in _COLOUR_NAMES], dtype=np.float32) - _BACKGROUND  # [6, 3]


@dataclass(frozen=True, slots=True)
class Seen:
    """One connected blob of a picture."""

    colour: str  # of most of its pixels
    purity: float  # share of its pixels that have this colour
    ious: dict[Kind, float]  # intersection over union with each kind drawn in its box
    x: float  # centre of its box, share of the picture's width
    y: float  # centre of its box, share of the picture's height

    @property
    def kind(self) -> Kind | None:
        """The kind that agrees best, None where none agrees."""
        best = max(KINDS, key=self.ious.__getitem__)
        return best if self.ious[best] >= MIN_IOU else None


def look(images: NDArray[np.uint8]) -> list[list[Seen]]:
    """What is seen in each picture.

    Args:
        images: [B, H, W, 3] uint8 sRGB.

    Returns:
        B lists of blobs, each in reading order of their first pixel.
    """
    if not images.size:
        return [[] for _ in images]  # scipy takes no maximum of nothing
    colours = _pixel_colours(images)
    # Connected in the plane (corners included) and never from one picture to the next.
    neighbours = np.zeros((3, 3, 3), dtype=bool)
    neighbours[1] = True
    labels, _ = ndimage.label(colours >= 0, structure=neighbours)
    found: list[list[Seen]] = [[] for _ in images]
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[box][0] == label
        if mask.sum() >= MIN_AREA:
            found[box[0].start].append(_seen(mask, colours[box][0][mask], box[1:], images.shape[1:3]))
    return found


def _pixel_colours(images: NDArray[np.uint8]) -> NDArray[np.int8]:
    """[B, H, W] the index of each pixel's colour, -1 for background.

    A pixel at the edge of a shape, or of a washed-out one, lies between the background and its colour: on the line
    from one to the other. The nearest line says which colour, and the place on the line how much of it.
    """
    offsets = images.astype(np.float32) - _BACKGROUND  # [B, H, W, 3]
    lengths = np.square(_DIRECTIONS).sum(axis=1)  # [6]
    shares = offsets @ (_DIRECTIONS / lengths[:, None]).T  # [B, H, W, 6]
    # |offset - s v|^2 less the term that all colours share, for s limited to the segment.
    limited = shares.clip(0, 1)
    distances = lengths * (limited**2 - 2 * limited * shares)
    nearest = distances.argmin(axis=-1)
    share = np.take_along_axis(shares, nearest[..., None], axis=-1)[..., 0]
    return np.where(share > 0.5, nearest, -1).astype(np.int8)


def _seen(mask: NDArray[np.bool_], colours: NDArray[np.int8], box: tuple[slice, slice], size: tuple[int, int]) -> Seen:
    """The blob of `mask` [h, w] whose pixels' colours are `colours` [area], in the picture's `box`."""
    counts = np.bincount(colours, minlength=len(_COLOUR_NAMES))
    best = int(counts.argmax())
    rows, columns = box
    return Seen(
        colour=_COLOUR_NAMES[best],
        purity=float(counts[best] / len(colours)),
        ious=dict(_ious(mask, size)),
        x=(columns.start + columns.stop) / 2 / size[1],
        y=(rows.start + rows.stop) / 2 / size[0],
    )


def _ious(mask: NDArray[np.bool_], size: tuple[int, int]) -> Iterator[tuple[Kind, float]]:
    height, width = mask.shape
    too_large = height > _MAX_SIDE * size[0] or width > _MAX_SIDE * size[1]
    for kind in KINDS:
        if too_large or min(height, width) < _MIN_SIDE:
            yield kind, 0.0
        else:
            templates = _templates(kind, height, width)
            yield kind, float(((mask & templates).sum(axis=(1, 2)) / (mask | templates).sum(axis=(1, 2))).max())


@lru_cache(maxsize=4096)
def _templates(kind: Kind, height: int, width: int) -> NDArray[np.bool_]:
    """[variants, height, width] the kind drawn to fill its box.

    A blob's box is known to a pixel only, and a pixel is a third of a small cross's arm: so shapes that stick out of
    the box by up to most of a pixel are tried too.
    """
    x = (np.arange(width) + 0.5) / width * 2 - 1
    y = (np.arange(height) + 0.5) / height * 2 - 1
    grow = [(dx / width, dy / height) for dx in (0.0, 0.8) for dy in (0.0, 0.8)]
    return np.stack([inside(kind, x[None, :] / (1 + u), y[:, None] / (1 + v)) for u, v in grow])
