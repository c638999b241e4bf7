"""Detection of shapes in a picture: position, colour, kind and quality.

It handles the blurred and incomplete pictures of a partly trained model. A pixel belongs to a shape if it is nearer to
a colour of the palette than to the background. Touching shapes are one blob. A blob can match no kind.
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
"""Pixels; smaller blobs are ignored. The smallest rendered shape has 27 pixels."""

MIN_IOU = 0.5
"""Smallest IoU of a blob with its kind."""

_MAX_SIDE = 0.7  # share of the side of the picture; larger blobs, such as a filled background, have no kind
_MIN_SIDE = 4  # pixels; the kinds of smaller blobs cannot be distinguished
_COLOUR_NAMES = tuple(COLOURS)
_BACKGROUND = np.array(BACKGROUND, dtype=np.float32)
_DIRECTIONS = np.array([COLOURS[name] for name in _COLOUR_NAMES], dtype=np.float32) - _BACKGROUND  # [6, 3]


@dataclass(frozen=True, slots=True)
class Blob:
    """One connected blob of a picture."""

    colour: str
    """Colour of most of its pixels."""

    purity: float
    """Share of its pixels with this colour."""

    ious: dict[Kind, float]
    """Intersection over union with each kind, rendered in its box."""

    x: float
    """Centre of its box, share of the width of the picture."""

    y: float
    """Centre of its box, share of the height of the picture."""

    @property
    def kind(self) -> Kind | None:
        """The kind with the largest IoU; None if it is below MIN_IOU."""
        best = max(KINDS, key=self.ious.__getitem__)
        return best if self.ious[best] >= MIN_IOU else None


def detect(images: NDArray[np.uint8]) -> list[list[Blob]]:
    """The blobs of each picture.

    Args:
        images: [B, H, W, 3] uint8 sRGB.

    Returns:
        B lists of blobs, in reading order of their first pixels.
    """
    if not images.size:
        return [[] for _ in images]  # scipy fails on an empty array
    colours = _pixel_colours(images)
    # Pixels are connected within a picture (including corners), and not between pictures.
    neighbours = np.zeros((3, 3, 3), dtype=bool)
    neighbours[1] = True
    labels, _ = ndimage.label(colours >= 0, structure=neighbours)
    blobs: list[list[Blob]] = [[] for _ in images]
    for label, box in enumerate(ndimage.find_objects(labels), start=1):
        mask = labels[box][0] == label
        if mask.sum() >= MIN_AREA:
            blobs[box[0].start].append(_blob(mask, colours[box][0][mask], box[1:], images.shape[1:3]))
    return blobs


def _pixel_colours(images: NDArray[np.uint8]) -> NDArray[np.int8]:
    """[B, H, W] index of the colour of each pixel, -1 for background.

    A pixel at the edge of a shape, or of a pale shape, is near the line between the background and its colour. The
    nearest line gives the colour, and the position on the line gives its share.
    """
    offsets = images.astype(np.float32) - _BACKGROUND  # [B, H, W, 3]
    lengths = np.square(_DIRECTIONS).sum(axis=1)  # [6]
    shares = offsets @ (_DIRECTIONS / lengths[:, None]).T  # [B, H, W, 6]
    # |offset - s v|^2 without the term that is equal for all colours, for s in [0, 1].
    limited = shares.clip(0, 1)
    distances = lengths * (limited**2 - 2 * limited * shares)
    nearest = distances.argmin(axis=-1)
    share = np.take_along_axis(shares, nearest[..., None], axis=-1)[..., 0]
    return np.where(share > 0.5, nearest, -1).astype(np.int8)


def _blob(mask: NDArray[np.bool_], colours: NDArray[np.int8], box: tuple[slice, slice], size: tuple[int, int]) -> Blob:
    """The blob with `mask` [h, w] and pixel colours `colours` [area] in `box` of the picture."""
    counts = np.bincount(colours, minlength=len(_COLOUR_NAMES))
    best = int(counts.argmax())
    rows, columns = box
    return Blob(
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
    """[variants, height, width] masks of the kind that fill its box.

    The box of a blob is accurate to one pixel, which is a third of the arm of a small cross. The variants therefore
    include shapes that exceed the box by 0.8 pixels.
    """
    x = (np.arange(width) + 0.5) / width * 2 - 1
    y = (np.arange(height) + 0.5) / height * 2 - 1
    grow = [(dx / width, dy / height) for dx in (0.0, 0.8) for dy in (0.0, 0.8)]
    return np.stack([inside(kind, x[None, :] / (1 + u), y[:, None] / (1 + v)) for u, v in grow])
