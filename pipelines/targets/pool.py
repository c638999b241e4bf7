"""Pools: on which machines the tasks of a role run, and with what around them."""

from __future__ import annotations

import re
from typing import Any, Literal, Self

from pydantic import Field, NonNegativeInt, PositiveInt, ValidationError, model_validator

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.display import has_secret
from reward_finetuning.pipelines.targets.quantities import Accelerator, Bytes, Cores, Duration, Text, Variable
from reward_finetuning.pipelines.targets.roles import ROLES, Role
from reward_finetuning.pipelines.targets.volumes import Volume, joined_volumes, problem_of

_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_SECRET_NAMES = re.compile(
    r"(PASSWORD|PASSWD|SECRET|TOKEN|ACCESS_KEY|API_KEY|PRIVATE_KEY|CREDENTIALS?)$", re.IGNORECASE
)
_NO_SECRETS = re.compile(r"|/.*|0|1|true|false|yes|no", re.IGNORECASE)
"""Values that are none under such a name: a switch, or the path of a file that holds the secret."""


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
    """Environment variables, e.g. MLFLOW_TRACKING_URI. A password, key or token is refused here: see `secrets`."""

    secrets: dict[Text, dict[Variable, Text]] = Field(default={})
    """Environment variables out of Kubernetes secrets: name of the secret -> {variable: key in the secret}."""

    volumes: tuple[Volume, ...] = ()
    """Folders to mount: claims, secrets, config maps, scratch folders; those of `every` and the pool's own."""

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

    @model_validator(mode="after")
    def _no_secret_is_a_literal(self) -> Self:
        # A cluster file is committed, and a package shows every literal to who may read the run.
        if literals := sorted(name for name, value in self.env.items() if _is_secret(name, value)):
            raise ValueError(
                f"env: {', '.join(literals)} would show a secret in the package: create a Kubernetes secret, and "
                f"write secrets: {{NAME_OF_SECRET: {{{literals[0]}: KEY}}}}"
            )
        return self

    @model_validator(mode="after")
    def _volumes_fit_together(self) -> Self:
        if problem := problem_of(self.volumes):
            raise ValueError(f"volumes: {problem}")
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
    """What all pools have in common; a pool's own settings win, and dictionaries and volumes are joined."""

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
    joined = common | own | {key: _joined(common[key], own[key]) for key in both}
    if "volumes" in common and "volumes" in own:
        joined["volumes"] = joined_volumes(common["volumes"], own["volumes"])
    return joined


def _is_secret(variable: str, value: str) -> bool:
    """Whether a value must not be in a file: AWS_SECRET_ACCESS_KEY, or a URL with a password."""
    named = _SECRET_NAMES.search(variable) is not None and _NO_SECRETS.fullmatch(value) is None
    return named or has_secret(value)
