"""Which image the tasks of a role run in."""

from __future__ import annotations

from pipelines.pool import Role

_IMAGES: dict[Role, str] = {
    "light": "reward-finetuning-light:python",
    "export": "reward-finetuning-trainer:python",
    "sample": "reward-finetuning-trainer:python",
    "reward": "reward-finetuning-scorer:python",
    "train": "reward-finetuning-trainer:python",
}


def image_of(role: Role) -> str:
    """The image of a role, where a cluster file names no other."""
    return _IMAGES[role]
