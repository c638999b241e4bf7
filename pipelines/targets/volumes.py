"""Volumes of a pool: claims, secrets, config maps and scratch folders that its pods mount."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import PurePosixPath
from typing import Annotated, Any, Self

from kfp import kubernetes
from kfp.dsl import PipelineTask
from pydantic import AfterValidator, model_validator

from reward_finetuning.config.base import Frozen
from reward_finetuning.pipelines.targets.quantities import Bytes, written

_SOURCES = ("claim", "secret", "config_map", "empty_dir")
_SYSTEM_FOLDERS = ("/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/opt/venv", "/proc", "/run", "/sbin", "/sys")
_ARGO_FOLDERS = ("/argo", "/mainctrfs", "/usr", "/var")
_KFP_FOLDERS = ("/.cache", "/.config", "/.local", "/gcs", "/kfp-launcher", "/minio", "/s3")
_OCCUPIED = tuple(PurePosixPath(each) for each in (*_SYSTEM_FOLDERS, *_ARGO_FOLDERS, *_KFP_FOLDERS))
_SCRATCH = "/tmp"
_VOLUMES_OF_PODS = {
    *("dshm", "tmp", "kfp-launcher", "gcs-scratch", "s3-scratch", "minio-scratch", "var-run-argo", "tmp-dir-argo"),
    *("dot-local-scratch", "dot-cache-scratch", "dot-config-scratch", "ca-bundle"),
}
"""Names of the volumes that Kubeflow Pipelines, Argo, TrainJobs and this project give to every pod."""


def _mount_path(text: str) -> str:
    path = PurePosixPath(text)
    if not path.is_absolute() or ".." in path.parts or ":" in text or str(path) != text.rstrip("/") or not path.name:
        raise ValueError("is an absolute path, like /data")
    if path.is_relative_to("/dev/shm"):
        raise ValueError("is set by shared_memory: remove the volume")
    for each in _OCCUPIED:
        if path.is_relative_to(each) or each.is_relative_to(path):
            raise ValueError(f"would hide {each} of the image, Argo or Kubeflow Pipelines: mount elsewhere, like /data")
    return str(path)


# A volume has the name of its source, and names of volumes are DNS labels (RFC 1123).
ObjectName = Annotated[str, written(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?", "rft-data")]
MountPath = Annotated[str, AfterValidator(_mount_path)]


class Volume(Frozen):
    """A folder of a pod. Exactly one of `claim`, `secret`, `config_map` and `empty_dir` says what is in it."""

    claim: ObjectName | None = None
    """PersistentVolumeClaim. A run directory may be in it, if every pool mounts it at the same path."""

    secret: ObjectName | None = None
    """Secret: one file per key."""

    config_map: ObjectName | None = None
    """ConfigMap: one file per key."""

    empty_dir: ObjectName | None = None
    """Scratch folder on the disk of the node, with this name; it is deleted with the pod."""

    path: MountPath
    """Absolute path in the container."""

    size: Bytes | None = None
    """Most that an `empty_dir` holds, e.g. 100Gi; the pod is evicted if it holds more. No limit when not given."""

    @property
    def name(self) -> str:
        """Name of the volume in the pod: that of its source."""
        return next(name for source in _SOURCES if (name := getattr(self, source)) is not None)

    def mount(self, task: PipelineTask) -> None:
        """Mount it in a task on Kubeflow Pipelines."""
        if self.claim is not None:
            kubernetes.mount_pvc(task, self.claim, self.path)
        elif self.secret is not None:
            kubernetes.use_secret_as_volume(task, self.secret, self.path)
        elif self.config_map is not None:
            kubernetes.use_config_map_as_volume(task, self.config_map, self.path)
        else:
            kubernetes.empty_dir_mount(task, self.name, self.path, size_limit=self.size)

    def in_pod(self) -> dict[str, Any]:
        """The entry of `volumes` in the spec of a pod."""
        if self.claim is not None:
            return {"name": self.name, "persistentVolumeClaim": {"claimName": self.claim}}
        if self.secret is not None:
            return {"name": self.name, "secret": {"secretName": self.secret}}
        if self.config_map is not None:
            return {"name": self.name, "configMap": {"name": self.config_map}}
        return {"name": self.name, "emptyDir": {} if self.size is None else {"sizeLimit": self.size}}

    @model_validator(mode="after")
    def _has_one_source(self) -> Self:
        sources = [source for source in _SOURCES if getattr(self, source) is not None]
        if len(sources) != 1:
            raise ValueError(
                f"{self.path} has {' and '.join(sources) or 'no source'}: name one of {', '.join(_SOURCES)}"
            )
        if self.name in _VOLUMES_OF_PODS:
            raise ValueError(f"every pod has a volume {self.name} already: choose another name")
        if self.size is not None and self.empty_dir is None:
            raise ValueError(f"size={self.size} limits an empty_dir; a {sources[0]} has its own size: remove it")
        if self.path == _SCRATCH and self.empty_dir is None:
            raise ValueError(f"{_SCRATCH} holds temporary files of one pod: mount an empty_dir there, or another path")
        return self


def problem_of(volumes: Iterable[Volume]) -> str | None:
    """Why the volumes cannot be mounted together, or None."""
    earlier: list[Volume] = []
    for volume in volumes:
        for other in earlier:
            if volume.name == other.name:
                return f"{volume.name} is mounted twice, at {other.path} and {volume.path}: a pod mounts it once"
            if _overlap(volume.path, other.path):
                return f"{other.path} ({other.name}) and {volume.path} ({volume.name}) overlap: take two folders"
        earlier.append(volume)
    return None


def joined_volumes(common: Any, own: Any) -> Any:
    """Volumes that all pools have, without those whose path a pool gives to another one; as given, not validated."""
    if not isinstance(common, list) or not isinstance(own, list):
        return own
    paths = [each.get("path") for each in own if isinstance(each, dict)]
    return [*(each for each in common if not isinstance(each, dict) or each.get("path") not in paths), *own]


def _overlap(one: str, other: str) -> bool:
    """Whether a mount hides the other one. A folder below /tmp is mounted after /tmp, and hides nothing."""
    if _SCRATCH in (one, other):
        return one == other
    return PurePosixPath(one).is_relative_to(other) or PurePosixPath(other).is_relative_to(one)
