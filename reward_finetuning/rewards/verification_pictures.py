"""Pictures and prompts for the verification of scorers."""

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
"""N pictures [H, W, 3] uint8 of any size, and N prompts."""

# Square, wide and tall; larger and smaller than the input of the networks; odd margins; a size without resizing.
_SIZES = ((512, 512), (300, 200), (201, 302), (224, 224), (768, 512), (96, 128), (224, 391), (640, 333))
_NOISE = 24


def generated_pictures(number: int) -> Pictures:
    """`number` pictures of the built-in world in several sizes, the same in every call.

    They contain grain, so that differences in resampling change the scores.
    """
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
    """The first `number` pictures of a folder, by name.

    The prompt is in the .txt file of the same name, or is the name of the picture.

    Raises:
        UserError: the folder contains no pictures.
    """
    paths = sorted(path for path in folder.glob("*") if path.suffix.lower() in {".png", ".jpg", ".jpeg", ".webp"})
    if not paths:
        raise UserError(f"{folder} contains no .png, .jpg or .webp file")
    prompts = []
    for path in paths[:number]:
        text = path.with_suffix(".txt")
        prompts.append(
            text.read_text("utf-8").strip() if text.is_file() else path.stem.replace("-", " ").replace("_", " ")
        )
    return [np.asarray(Image.open(path).convert("RGB")) for path in paths[:number]], prompts
