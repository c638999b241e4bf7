"""Pools: on which machines the tasks of a role run, and with what around them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    WithJsonSchema,
    model_validator,
)

from pipelines.targets.roles import ROLES, Role
from reward_finetuning.config.base import Frozen

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}


def _written(pattern: str, example: str) -> AfterValidator:
    """A text that matches the pattern from end to end; `example` goes into the error."""

    def check(text: str) -> str:
        if not re.fullmatch(pattern, text):
            raise ValueError(f"is written like {example}")
        return text

    return AfterValidator(check)


Text = Annotated[str, Field(min_length=1)]
Cores = Annotated[
    str,
    Field(coerce_numbers_to_str=True),
    _written(r"\d+(\.\d+)?|\d+m", "8, 0.5 or 500m"),
    WithJsonSchema({"type": ["string", "number"]}),
]
Bytes = Annotated[str, _written(r"[1-9]\d*(E|Ei|P|Pi|T|Ti|G|Gi|M|Mi|K|Ki)", "16G or 16Gi")]
Duration = Annotated[str, _written(r"[1-9]\d*[smhd]", "90m, 6h or 2d")]
Accelerator = Annotated[str, _written(r"[a-z0-9]+(-[a-z0-9]+)+", "nvidia-l4, as GKE names it")]
Variable = Annotated[str, _written(r"[A-Za-z_][A-Za-z0-9_]*", "MLFLOW_TRACKING_URI")]


class Toleration(Frozen):
    """A taint that a pod may run beside; the fields are Kubernetes'."""

    key: Text | None = None
    """Key of the taint; every taint when not given, and then operator is Exists."""

    operator: Literal["Equal", "Exists"] = "Equal"
    """`Equal`: key and value are the taint's; `Exists`: the key is."""

    value: Text | None = None
    """Value of the taint."""

    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Effect of the taint; any when not given."""

    @model_validator(mode="after")
    def _operator_has_what_it_compares(self) -> Self:
        if self.operator == "Equal" and (self.key is None or self.value is None):
            raise ValueError("operator Equal compares key and value: give both, or operator: Exists")
        if self.operator == "Exists" and self.value is not None:
            raise ValueError(f"operator Exists looks at the key alone: drop value {self.value!r}, or take Equal")
        return self


class Pool(Frozen):
    """A kind of machine, and how tasks run there; nothing in it changes a number."""

    image: Text | None = None
    """Image of the role's tasks, best with its digest; the one of images/ when not given."""

    cpu: Cores = "4"
    """Cores: 8, 0.5, 500m."""

    memory: Bytes = "16G"
    """Main memory, shared memory included."""

    gpus: NonNegativeInt = 0
    """GPUs of one task (of one node of it, where num_nodes is more than 1)."""

    accelerator: Accelerator | None = None
    """GKE's name of the GPU, e.g. nvidia-l4; Vertex's is the same in capitals with underscores. On Kubernetes none
    means any GPU."""

    machine_type: Text | None = None
    """Google's name of the machine, e.g. g2-standard-8. On Vertex it turns the task into a CustomJob."""

    spot: bool = False
    """Cheap machines that Google may take back at any moment; every step resumes after its last commit."""

    num_nodes: PositiveInt = 1
    """Machines that train together; for the role train alone."""

    boot_disk_gb: PositiveInt | None = Field(default=None, ge=100, le=64_000)
    """Boot disk of a Vertex CustomJob, in GB; Vertex' own size (100) when not given."""

    shared_memory: Bytes | None = None
    """Size of /dev/shm; Kubernetes' own 64 MiB is too small for torch's workers."""

    node_selectors: dict[Text, Text] = Field(default={})
    """Labels that a node must have, beside those that accelerator, machine_type and spot ask for."""

    tolerations: tuple[Toleration, ...] = ()
    """Taints to run beside, other than those of GPU and Spot nodes."""

    queue: Text | None = None
    """Kueue's LocalQueue that pods wait in."""

    env: dict[Variable, str] = Field(default={})
    """Environment variables, e.g. MLFLOW_TRACKING_URI."""

    secrets: dict[Text, dict[Variable, Text]] = Field(default={})
    """Environment variables out of Kubernetes secrets: name of the secret -> {variable: key in the secret}."""

    image_pull_policy: Literal["Always", "IfNotPresent", "Never"] | None = None
    """When nodes pull the image; Kubernetes' own rule when not given."""

    image_pull_secrets: tuple[Text, ...] = ()
    """Kubernetes secrets with a registry's password."""

    run_as_user: PositiveInt | None = None
    """User id of the process; the image's own when not given. Root is refused either way."""

    retries: NonNegativeInt = 10
    """How often a failed task is started again, within a week of its first start."""

    timeout: Duration | None = None
    """Longest time one attempt may run, e.g. 90m, 6h, 2d; no limit when not given."""

    @property
    def timeout_seconds(self) -> int | None:
        """The timeout in seconds."""
        return None if self.timeout is None else int(self.timeout[:-1]) * _SECONDS[self.timeout[-1]]

    @property
    def vertex_accelerator(self) -> str | None:
        """Vertex's name of the GPU: nvidia-a100-80gb is NVIDIA_A100_80GB."""
        return None if self.accelerator is None else self.accelerator.upper().replace("-", "_")

    def given(self, field: str) -> bool:
        """Whether a cluster file sets the field to something, be it the value that it has anyway."""
        return field in self.model_fields_set and bool(getattr(self, field))

    @model_validator(mode="after")
    def _accelerator_has_a_number(self) -> Self:
        if self.given("accelerator") and not self.gpus:
            raise ValueError(f"accelerator {self.accelerator} without gpus: say how many, e.g. gpus: 1")
        return self

    @model_validator(mode="after")
    def _a_variable_has_one_source(self) -> Self:
        named = [*self.env, *(variable for variables in self.secrets.values() for variable in variables)]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"set twice: {', '.join(twice)}; env and secrets together may name a variable once")
        return self


class LightPool(Pool):
    """For tasks of seconds that only read and decide."""

    cpu: Cores = "1"
    memory: Bytes = "2G"


class GpuPool(Pool):
    """For tasks that load a model."""

    gpus: NonNegativeInt = 1
    accelerator: Accelerator | None = "nvidia-l4"
    shared_memory: Bytes | None = "8Gi"


class TrainPool(GpuPool):
    """For training, which holds gradients and optimizer state as well."""

    cpu: Cores = "8"
    memory: Bytes = "48G"


class Pools(Frozen):
    """A pool a role."""

    every: Pool = Pool()
    """What all pools have in common; a pool's own settings win, and dictionaries are joined."""

    light: LightPool = LightPool()
    """Plans, shards, gates."""

    export: Pool = Pool()
    """Promotion of a policy."""

    sample: GpuPool = GpuPool()
    """Drawing images, for training and for evaluation."""

    reward: GpuPool = GpuPool()
    """Scoring them."""

    train: TrainPool = TrainPool()
    """Training, and the fused loop, which does all roles in one task."""

    def of(self, role: Role) -> Pool:
        """The pool of a role."""
        pool: Pool = getattr(self, role)
        return pool

    @model_validator(mode="before")
    @classmethod
    def _common_settings_go_to_every_pool(cls, given: Any) -> Any:
        if not isinstance(given, dict) or not isinstance(common := given.get("every"), dict):
            return given
        try:
            Pool.model_validate(common)
        except ValidationError:
            return given  # reported once, under `every`
        own = {role: given.get(role, {}) for role in ROLES}
        return given | {role: _joined(common, pool) if isinstance(pool, dict) else pool for role, pool in own.items()}

    @model_validator(mode="after")
    def _only_training_spans_nodes(self) -> Self:
        for role in ROLES:
            if role != "train" and (nodes := self.of(role).num_nodes) > 1:
                raise ValueError(f"num_nodes={nodes} for {role}: only train spans nodes; sample and reward take shards")
        return self


def _joined(common: dict[str, Any], own: dict[str, Any]) -> dict[str, Any]:
    both = {key for key in common.keys() & own.keys() if isinstance(common[key], dict) and isinstance(own[key], dict)}
    return common | own | {key: _joined(common[key], own[key]) for key in both}
