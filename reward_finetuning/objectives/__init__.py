"""The maths of learning: one file per method, and the exact gradient. `build_objective` is the registry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from reward_finetuning.config.sections.objective import ObjectiveConfig
from reward_finetuning.objectives.ddpo import Ddpo
from reward_finetuning.objectives.dpok import Dpok
from reward_finetuning.objectives.ppod import Ppod
from reward_finetuning.objectives.prdp import Prdp
from reward_finetuning.objectives.protocol import Objective
from reward_finetuning.objectives.rwr import Rwr

_OBJECTIVES: dict[str, Callable[[Any], Objective]] = {
    "ddpo": Ddpo,
    "dpok": Dpok,
    "ppod": Ppod,
    "prdp": Prdp,
    "rwr": Rwr,
}


def build_objective(config: ObjectiveConfig) -> Objective:
    """The objective that the config names."""
    return _OBJECTIVES[config.name](config)


__all__ = ["Objective", "build_objective"]
