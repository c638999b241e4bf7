"""A target: components with its image, placed on its pools."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from kfp import dsl
from kfp.dsl import PipelineTask

from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.custom_job import as_custom_job
from reward_finetuning.pipelines.targets.images import image_of
from reward_finetuning.pipelines.targets.placement import place
from reward_finetuning.pipelines.targets.refusals import refuse
from reward_finetuning.pipelines.targets.roles import ROLE_OF_COMPONENT, Role
from reward_finetuning.pipelines.targets.services import TargetName
from reward_finetuning.pipelines.targets.train_job import train_job_settings


@dataclass(frozen=True, slots=True)
class Target:
    """Where the compiled package will run."""

    name: TargetName
    cluster: Cluster = field(default_factory=Cluster)

    def __post_init__(self) -> None:
        refuse(self.cluster, self.name)

    @property
    def loops_over_epochs(self) -> bool:
        """Whether epochs are iterations of a loop.

        Kubeflow runs them one after the other with parallelism=1; Vertex promises no order, and kfp.local, which runs
        packages here, continues no loop after a failure that a package of unrolled epochs would stop at.
        """
        return self.name is TargetName.KFP

    def is_one_place(self, *roles: Role) -> bool:
        """Whether tasks of these roles have the same machines and the same image."""
        places = [self.cluster.pools.of(role) for role in roles]
        images = {pool.image or image_of(role) for role, pool in zip(roles, places, strict=True)}
        return len(images) == 1 and (self.name is TargetName.LOCAL or all(pool == places[0] for pool in places))

    def trainer(self, step: Callable[..., Any], launcher: Callable[..., Any]) -> Callable[..., PipelineTask]:
        """`step` as a component of the train pool; where that spans nodes of a Kubernetes cluster, its launcher."""
        if self.name is not TargetName.KFP or self.cluster.pools.train.num_nodes == 1:
            return self.component(step)
        launch, job = self.component(launcher), train_job_settings(self.cluster).model_dump_json()
        return lambda **arguments: launch(**arguments, job=job)

    def component(self, function: Callable[..., Any], role: Role | None = None) -> Callable[..., PipelineTask]:
        """`function` as a component in the image of its role, or of `role`, every task of it placed."""
        role = role or ROLE_OF_COMPONENT[function.__name__]
        pool = self.cluster.pools.of(role)
        component = dsl.component(function, base_image=pool.image or image_of(role), install_kfp_package=False)
        if self.name is TargetName.VERTEX and pool.machine_type:
            component = as_custom_job(component, pool)

        def task(**arguments: Any) -> PipelineTask:
            return place(component(**arguments), role, self.name, self.cluster)

        return task
