"""Pictures to try scorers on, with their prompts."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from reward_finetuning.config.errors import UserError
from reward_finetuning.shapes.captions import draw_scene
from reward_finetuning.shapes.render import render
from reward_finetuning.shapes.scene import describe

Pictures = tuple[list[NDArray[np.uint8]], list[str]]
"""N pictures [H, W, 3] uint8 of any sizes, and N prompts."""

# Square, wide and tall; larger and smaller than what the networks see; odd margins; a side that needs no resizing.
_SIZES = ((512, 512), (300, 200), (201, 302), (224, 224), (768, 512), (96, 128), (224, 391), (640, 333))
_NOISE = 24


def drawn_pictures(number: int) -> Pictures:
    """The same `number` pictures of the built-in world each time, in several sizes, grainy so that resampling shows."""
    rng = np.random.default_rng(0)
    images, prompts = [], []
    for index in range(number):
        scene = draw_scene(rng)
        height, width = _SIZES[index % len(_SIZES)]
        picture = Image.fromarray(render(scene, rng)).resize((width, height), Image.Resampling.BICUBIC)
        grain = rng.integers(-_NOISE, _NOISE + 1, (height, width, 3))
        images.append((np.asarray(picture) + grain).clip(0, 255).astype(np.uint8))
        prompts.append(describe(scene))
    return images, prompts


def folder_pictures(folder: Path, number: int) -> Pictures:
    """The first `number` pictures of a folder, by name; a prompt is in the .txt beside its picture, or is its name.

    Raises:
        UserError: there are none.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".webp"})
    if not paths:
        raise UserError(f"{folder} holds no .png, .jpg or .webp")
    prompts = []
    for path in paths[:number]:
        text = path.with_suffix(".txt")
        prompts.append(
            text.read_text("utf-8").strip() if text.is_file() else path.stem.replace("-", " ").replace("_", " ")
        )
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths[:number]], prompts
