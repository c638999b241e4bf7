"""How the containers of `rft run --runner docker` run: image, user, mounts, network, GPUs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.config.externals import Kind, Setting, external_settings
from reward_finetuning.inputs import Place, path_of, place_of
from reward_finetuning.prompts.pointer import POINTER
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.storage.buckets.schemes import CREDENTIAL_FILES, ENVIRONMENT
from reward_finetuning.tracking import code_version

IMAGE_USER = 10001
"""The user of our images. If root calls, tasks run as this user, who becomes the owner of the run's folder."""

REVISION = "org.opencontainers.image.revision"
_PASSED_ON = (
    "OMP_NUM_THREADS",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "RFT_USER",
    *ENVIRONMENT,
)


class Gpus(StrEnum):
    """Which GPUs a container sees."""

    AUTO = "auto"
    ALL = "all"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class ContainerOptions:
    """What the user may choose."""

    gpus: Gpus = Gpus.AUTO
    network: str | None = None
    """Docker's network mode; None: `host` where the run needs a network, else `none`."""


def engine() -> Any:
    """A client of the Docker Engine that answers at DOCKER_HOST.

    Raises:
        UserError: there is no SDK, or no engine.
    """
    try:
        import docker
    except ImportError:
        raise UserError(
            "--runner docker needs Docker's Python SDK: pip install 'reward-finetuning[docker]'; "
            "or leave --runner docker out, and tasks run as processes"
        ) from None
    where = os.environ.get("DOCKER_HOST") or "unix:///var/run/docker.sock"
    try:
        client = docker.from_env()
        client.ping()
    except (docker.errors.DockerException, OSError) as error:
        raise UserError(
            f"no Docker Engine answers at {where}: {error}; start it, or say where it is by DOCKER_HOST"
        ) from None
    return client


def check_images(client: Any, package: Path) -> list[str]:
    """Check that the engine has every image of a compiled package; images named by digest are pulled.

    Returns:
        A warning for each image that was built from other code than this.

    Raises:
        UserError: an image is missing.
    """
    import docker

    warnings = []
    for reference in sorted(_images(package)):
        try:
            if "@" in reference:
                client.images.pull(reference)
            image = client.images.get(reference)
        except docker.errors.DockerException as error:
            reason = error.explanation if isinstance(error, docker.errors.APIError) else error
            what = "cannot be pulled" if "@" in reference else "is not on this engine"
            raise UserError(f"image {reference} {what} ({reason}); build the images: make images") from None
        built, current = image.labels.get(REVISION), code_version()
        if built != current:
            warnings.append(
                f"warning: image {reference} was built from {built}, the code here is {current}: make images"
            )
    return warnings


def container_arguments(client: Any, config: RunConfig, options: ContainerOptions) -> dict[str, Any]:
    """Arguments of `docker.containers.run`, as JSON can carry them; the runner adds `passed_environment`.

    Args:
        client: of the engine.
        config: a run whose paths are absolute (`absolute_paths`).
        options: the user's choice.
    """
    import docker

    environment: dict[str, str] = {}
    writable, cache = _written(config), _hub_cache()
    if cache.is_dir():
        writable.append(cache)
        environment["HF_HOME"] = str(cache)
    mounts = [docker.types.Mount(str(path), str(path), "bind") for path in writable]
    mounts += [docker.types.Mount(str(path), str(path), "bind", read_only=True) for path in _read(config)]
    all_gpus = docker.types.DeviceRequest(count=-1, capabilities=[["gpu"]])
    return {
        "user": _user(client),
        "mounts": mounts,
        "environment": environment,
        "network_mode": options.network or ("host" if needs_network(config) else "none"),
        "device_requests": [all_gpus] if _has_gpus(client, options.gpus) else [],
        "shm_size": "8g",  # a limit, not a reservation; 64 MiB is too small for torch's workers
        "read_only": True,
        "tmpfs": {"/tmp": "mode=1777"},
        "cap_drop": ["ALL"],
        "security_opt": ["no-new-privileges"],
    }


def passed_environment() -> dict[str, str]:
    """The variables of this process that tasks get too. Some hold secrets: they never stand on a command line."""
    return {name: os.environ[name] for name in _PASSED_ON if name in os.environ}


def needs_network(config: RunConfig) -> bool:
    """Whether a task sends requests to a tracking server, a scoring service, a bucket or the hub."""
    settings = list(_settings(config))
    remote = any(place_of(each) in {Place.BUCKET, Place.HUB, Place.NETWORK} for each in settings)
    with_source = {each.path[-2] for each in settings if each.external.kind in {Kind.WEIGHTS, Kind.SERVICE}}
    from_hub = any(name in MODELS and name not in with_source for name in config.reward.weights)
    tracked = config.tracking.enabled and _store(config) is None
    return remote or from_hub or tracked


def give_to_tasks(client: Any, folder: Path) -> None:
    """If root calls, make the tasks' user the owner of the run's folder and of what is in it."""
    uid, _, gid = _user(client).partition(":")
    if os.getuid() == 0 and uid != "0":
        for path in (folder.parent, *folder.parent.glob("mlflow.db*"), folder, *folder.rglob("*")):
            os.chown(path, int(uid), int(gid), follow_symlinks=False)


def _images(package: Path) -> set[str]:
    specs = (document.get("deploymentSpec", {}) for document in yaml.safe_load_all(package.read_text("utf-8")))
    return {each["container"]["image"] for spec in specs for each in spec.get("executors", {}).values()}


def _user(client: Any) -> str:
    if "name=rootless" in client.info().get("SecurityOptions", []):
        return "0:0"  # the engine of an unprivileged user: its root is that user
    return f"{os.getuid() or IMAGE_USER}:{os.getgid() or IMAGE_USER}"


def _has_gpus(client: Any, gpus: Gpus) -> bool:
    return gpus is Gpus.ALL or (gpus is Gpus.AUTO and "nvidia" in client.info().get("Runtimes", {}))


def _settings(config: RunConfig) -> Iterator[Setting]:
    """What the tasks of the run use; MLflow's address may also be given elsewhere (`_store`)."""
    return (each for each in external_settings(config) if each.external.kind is not Kind.TRACKING)


def _written(config: RunConfig) -> list[Path]:
    settings = [each for each in _settings(config) if each.external.access == "write"]
    root = [path for each in settings if (path := path_of(each)) is not None]
    store = _store(config) if config.tracking.enabled else None
    return root + [path for path in [store] if path is not None and not _inside(path, root)]


def _read(config: RunConfig) -> list[Path]:
    """Files and folders of this machine that tasks read, and those that links in these folders lead to."""
    settings = [each for each in _settings(config) if each.external.access == "read"]
    paths = {_existing(path) for each in settings if (path := path_of(each)) is not None}
    if any(place_of(each) is Place.BUCKET for each in _settings(config)):
        paths |= {Path(os.environ[name]) for name in CREDENTIAL_FILES if name in os.environ}
    paths |= _link_targets(paths)
    return sorted(path for path in paths if not _inside(path, _written(config)))


def _link_targets(folders: set[Path]) -> set[Path]:
    """What links below the folders lead to outside of them, and so on: a container has no other way there."""
    targets: set[Path] = set()
    open_folders = list(folders)
    while open_folders:
        folder = open_folders.pop()
        links = {path.resolve() for path in folder.rglob("*") if path.is_symlink()}
        outside = {path for path in links if path.exists() and not path.is_relative_to(folder.resolve())} - targets
        targets |= outside
        open_folders += outside
    return targets


def _existing(path: Path) -> Path:
    """The path itself; for a pattern, a name with a date, or a pointer to a neighbour, the folder that holds them."""
    if path.exists() and path.suffix != POINTER:
        return path
    *folders, _ = path.absolute().parents
    return next((folder for folder in folders if folder.exists()), path)


def _inside(path: Path, folders: list[Path]) -> bool:
    return any(path.is_relative_to(folder) for folder in folders)


def _store(config: RunConfig) -> Path | None:
    """The folder that holds MLflow's store; None where it is a server."""
    uri = config.tracking.uri or os.environ.get("MLFLOW_TRACKING_URI") or f"sqlite:///{config.run_root}/mlflow.db"
    if uri.startswith("sqlite:///"):
        return Path(uri.removeprefix("sqlite:///")).absolute().parent
    return None if "://" in uri and not uri.startswith("file://") else Path(uri.removeprefix("file://")).absolute()


def _hub_cache() -> Path:
    return Path(os.environ.get("HF_HOME") or "~/.cache/huggingface").expanduser().absolute()
