"""The role of each component: a role has a pool of machines and a container image."""

from __future__ import annotations

from typing import Literal, get_args

Role = Literal["light", "export", "sample", "reward", "train"]
ROLES: tuple[Role, ...] = get_args(Role)

ROLE_OF_COMPONENT: dict[str, Role] = {
    "begin_retraining": "light",
    "next_epochs": "light",
    "gate": "light",
    "plan_evaluation": "light",
    "launch_run_epochs": "light",
    "launch_train_epoch": "light",
    "draw": "sample",
    "sample": "sample",
    "reward": "reward",
    "train_epoch": "train",
    "run_epochs": "train",
    "evaluate_shard": "sample",
    "evaluate": "sample",
    "promote": "export",
}
"""Component -> role, unless a graph gives another one. What an image has to import follows from it
(images/contents.py)."""
