"""A grid of sample images as one PNG file, for trackers."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from reward_finetuning.records import Pictures

_MIN_TILE = 96


def write_grid(images: Pictures, prompts: Sequence[str], num: int, path: Path) -> None:
    """Write a nearly square grid with the first picture of `num` prompts, spread evenly over all distinct prompts.

    Args:
        images: [S], all of one size.
        prompts: [S].
        num: maximum number of tiles. Equal prompts give equal tiles, so that grids can be compared.
        path: PNG file.
    """
    first: dict[str, int] = {}
    for row, prompt in enumerate(prompts):
        first.setdefault(prompt, row)
    rows = list(first.values())
    chosen = [rows[i * len(rows) // min(num, len(rows))] for i in range(min(num, len(rows)))]
    tiles = np.stack([images[row] for row in chosen])
    scale = max(1, -(-_MIN_TILE // tiles.shape[1]))
    tiles = tiles.repeat(scale, axis=1).repeat(scale, axis=2)
    tiles = np.pad(tiles, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=255)
    columns = math.isqrt(len(tiles) - 1) + 1
    blank = np.full((-len(tiles) % columns, *tiles.shape[1:]), 255, dtype=np.uint8)
    table = np.concatenate([tiles, blank]).reshape(-1, columns, *tiles.shape[1:])  # [rows, columns, h, w, 3]
    num_rows, _, height, width, _ = table.shape
    picture = table.transpose(0, 2, 1, 3, 4).reshape(num_rows * height, columns * width, 3)
    Image.fromarray(picture).save(path)
