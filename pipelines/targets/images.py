"""Which container image a role runs in: by the lock that `make images` writes, else by its local name."""

from __future__ import annotations

import json
import os
from importlib.metadata import version
from pathlib import Path

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.targets.roles import ROLE_OF_COMPONENT, Role

IMAGES_LOCK = "RFT_IMAGES_LOCK"
"""Environment variable: another lock than images/images.lock of this checkout."""

IMAGE_OF_ROLE: dict[Role, str] = {
    "light": "light",
    "export": "trainer",
    "sample": "trainer",
    "reward": "trainer",
    "train": "trainer",
}
"""Role -> folder in images/. The scorer image, with the official packages and the old transformers they pin, serves
scorers, or is named in a cluster file: pools.reward.image."""


def image_of(role: Role) -> str:
    """The reference of a role's image: a digest once it was pushed, else a name and tag of this machine's engine.

    Raises:
        UserError: the lock is no lock.
    """
    image = IMAGE_OF_ROLE[role]
    return locked().get(image) or local_name(image)


def components_of(image: str) -> list[str]:
    """Names of the components whose role runs in `image`, a folder of images/."""
    return sorted(name for name, role in ROLE_OF_COMPONENT.items() if IMAGE_OF_ROLE[role] == image)


def local_name(image: str) -> str:
    """The name and tag that `make images` gives an image by default."""
    return f"reward-finetuning-{image}:{version('reward-finetuning')}"


def locked() -> dict[str, str]:
    """Image -> reference, as far as the lock has it; empty where there is none.

    Raises:
        UserError: it is no JSON object of references.
    """
    path = Path(os.environ.get(IMAGES_LOCK) or Path(__file__).resolve().parents[2] / "images" / "images.lock")
    if not path.is_file():
        return {}
    try:
        references = json.loads(path.read_text(encoding="utf-8"))
    except ValueError:
        references = None
    if not isinstance(references, dict) or not all(isinstance(each, str) for each in references.values()):
        raise UserError(f"{path} is no lock of images (a JSON object: image -> reference); write it anew: make images")
    return references
