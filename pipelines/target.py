"""A target: components with its image, placed on its pools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from pipelines.images import image_of
from pipelines.placement import Role, TargetName, place


@dataclass(frozen=True, slots=True)
class Target:
    """Where the compiled package will run."""

    name: TargetName

    def component(self, function: Callable[..., Any], role: Role) -> Callable[..., PipelineTask]:
        """`function` as a component in the image of `role`, every task of it placed."""
        component = dsl.component(function, base_image=image_of(role), install_kfp_package=False)

        def task(**arguments: Any) -> PipelineTask:
            return place(component(**arguments), role, self.name)

        return task
