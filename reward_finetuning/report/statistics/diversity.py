"""Diversity: the mean distance between all pairs of images of one prompt.

The images of an over-optimised policy become similar: its reward rises and its diversity falls.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image

SIDE = 32
"""Pixels to which a picture is averaged; finer detail is texture."""

COLOUR_CELLS, GRADIENT_CELLS, ORIENTATIONS = 8, 4, 8
_BLOCK = 512
"""Rows of the distance matrix per block, so that 5000 images of one prompt need megabytes instead of gigabytes."""


def pixel_features(images: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Features whose Euclidean distance measures how different two pictures look, without a network.

    The picture is averaged to SIDE x SIDE. One half of the features are the mean colours of 8 x 8 cells, scaled so that
    their distance is the root mean square difference of the colours, in [0, 1]. The other half are histograms of the
    gradients' orientations in 4 x 4 cells (weighted by magnitude, sign ignored), as square roots of shares: a Hellinger
    distance in [0, 1].

    Args:
        images: [M, H, W, 3].

    Returns:
        [M, 320]; the distance of equal pictures is 0, and every distance is at most sqrt(2).

    Source: histograms as in Dalal and Triggs 2005, CVPR, with larger cells; distance of histograms: Hellinger 1909.
    """
    small = np.stack([_averaged(image) for image in images])  # [M, SIDE, SIDE, 3]
    colours = _cells(small, COLOUR_CELLS).mean(axis=(2, 4))  # [M, 8, 8, 3]
    down, across = np.gradient(small.mean(axis=-1), axis=(1, 2))
    magnitude, angle = np.hypot(down, across), np.arctan2(down, across) % np.pi
    bins = np.minimum((angle * ORIENTATIONS / np.pi).astype(int), ORIENTATIONS - 1)
    votes = magnitude[..., None] * (bins[..., None] == np.arange(ORIENTATIONS))  # [M, SIDE, SIDE, 8]
    histogram = _cells(votes, GRADIENT_CELLS).sum(axis=(2, 4)).reshape(len(images), -1)
    shares = histogram / np.maximum(histogram.sum(axis=1, keepdims=True), 1e-6)
    parts = [colours.reshape(len(images), -1) / np.sqrt(colours[0].size), np.sqrt(shares / 2)]
    return np.concatenate(parts, axis=1).astype(np.float32)


def diversity(features: NDArray[np.float32], prompts: Sequence[object]) -> NDArray[np.float64] | None:
    """Share of each image in the mean pairwise distance of its prompt, [S]; None if a prompt has only one image.

        U   = mean over pairs i < j of |f_i - f_j|, over the K images of a prompt
        d_i = mean over j of |f_i - f_j|
        p_i = (2 (K - 1) d_i - K U) / (K - 2)

    The p_i are the pseudo-values of the jackknife. Their mean is U, and their spread over images estimates that of U.
    The spread of the d_i is half of it, because each pair is part of two d_i. With K = 2, both p_i are U.

    Args:
        features: [S, D].
        prompts: [S], equal for images of one prompt.

    Source: Arvesen 1969, Annals of Mathematical Statistics 40(6): the jackknife of a U-statistic.
    """
    index: dict[object, list[int]] = {}
    for row, prompt in enumerate(prompts):
        index.setdefault(prompt, []).append(row)
    if min(map(len, index.values())) < 2:
        return None
    values = np.empty(len(features), dtype=np.float64)
    for rows in index.values():
        values[rows] = _pseudo_values(features[rows].astype(np.float64))
    return values


def _pseudo_values(features: NDArray[np.float64]) -> NDArray[np.float64]:
    K = len(features)
    d = np.concatenate([_distances(features, first).sum(axis=1) for first in range(0, K, _BLOCK)]) / (K - 1)
    return (2 * (K - 1) * d - K * d.mean()) / (K - 2) if K > 2 else d


def _distances(features: NDArray[np.float64], first: int) -> NDArray[np.float64]:
    """[block, K] distances from the block of images at `first` to all images."""
    block = features[first : first + _BLOCK]
    squares = (features**2).sum(axis=1)
    squared = squares[first : first + _BLOCK, None] + squares - 2 * block @ features.T
    index = np.arange(len(block))
    squared[index, first + index] = 0.0
    return np.sqrt(np.maximum(squared, 0.0))


def _averaged(image: NDArray[np.uint8]) -> NDArray[np.float64]:
    small = Image.fromarray(image).resize((SIDE, SIDE), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float64) / 255


def _cells(values: NDArray[np.float64], cells: int) -> NDArray[np.float64]:
    """Reshape [M, SIDE, SIDE, ...] to [M, cells, size, cells, size, ...]."""
    size = SIDE // cells
    return values.reshape(len(values), cells, size, cells, size, *values.shape[3:])
