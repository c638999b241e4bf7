"""How the containers of `rft run --runner docker` run: image, user, mounts, network, GPUs."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any

import yaml

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.policy.source import locate
from reward_finetuning.progress import SECONDS
from reward_finetuning.prompts.built_in import built_in
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.tracking import code_version

IMAGE_USER = 10001
"""The user of our images. Where root calls, tasks run as this one, who is given the run's folder."""

REVISION = "org.opencontainers.image.revision"
_CREDENTIALS = "GOOGLE_APPLICATION_CREDENTIALS"
_PASSED_ON = (
    "OMP_NUM_THREADS",
    SECONDS,
    _CREDENTIALS,
    "GOOGLE_CLOUD_PROJECT",
    "HF_HUB_OFFLINE",
    "HF_TOKEN",
    "MLFLOW_TRACKING_PASSWORD",
    "MLFLOW_TRACKING_TOKEN",
    "MLFLOW_TRACKING_URI",
    "MLFLOW_TRACKING_USERNAME",
    "STORAGE_EMULATOR_HOST",
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
    """See that the engine has every image of a compiled package; pushed ones, known by digest, are pulled.

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
        built, here = image.labels.get(REVISION), code_version()
        if built != here:
            warnings.append(f"warning: image {reference} was built from {built}, the code here is {here}: make images")
    return warnings


def container_arguments(client: Any, config: RunConfig, options: ContainerOptions) -> dict[str, Any]:
    """Arguments of `docker.containers.run`, as JSON can carry them.

    Args:
        client: of the engine.
        config: a run whose paths are absolute (`absolute_paths`).
        options: the user's choice.
    """
    import docker

    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    writable, cache = _written(config), _hub_cache()
    if cache.is_dir():
        writable.append(cache)
        environment["HF_HOME"] = str(cache)
    mounts = [docker.types.Mount(str(path), str(path), "bind") for path in writable]
    mounts += [docker.types.Mount(str(path), str(path), "bind", read_only=True) for path in _read(config, environment)]
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


def absolute_paths(config: RunConfig) -> RunConfig:
    """The config with paths that mean the same in a container."""
    tree = config.model_dump(mode="json")
    tree["model"]["source"] = _absolute(config.model.source)
    tree["prompts"]["train"] = _absolute(config.prompts.train)
    sets = tree["evaluation"]["prompt_sets"]
    tree["evaluation"]["prompt_sets"] = {name: _absolute(source) for name, source in sets.items()}
    for name in ("adapter", "single_file_configs"):
        tree["model"][name] = _absolute(tree["model"][name])
    if config.warm_start is not None:
        tree["warm_start"]["run_directory"] = _absolute(config.warm_start.run_directory)
    for settings in tree["reward"]["scorers"].values():
        settings["source"] = _absolute(settings["source"])
    return RunConfig.model_validate(tree)


def needs_network(config: RunConfig) -> bool:
    """Whether a task talks to a tracking server, a scoring service, a bucket or the hub."""
    settings = {name: config.reward.scorers.get(name) for name in config.reward.weights}
    served = any(each is not None and each.url for each in settings.values())
    sources = {name: each.source if each else None for name, each in settings.items()}
    from_hub = any(name in MODELS and not (source and Path(source).is_dir()) for name, source in sources.items())
    tracked = config.tracking.enabled and _store(config) is None
    return served or from_hub or tracked or config.run_root.startswith("gs://") or locate(config.model) is None


def give_to_tasks(client: Any, folder: Path) -> None:
    """Where root calls, let the tasks' user write the run's folder and what is in it."""
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


def _written(config: RunConfig) -> list[Path]:
    root = [] if config.run_root.startswith("gs://") else [Path(config.run_root)]
    store = _store(config) if config.tracking.enabled else None
    return root + [path for path in [store] if path is not None and not _inside(path, root)]


def _read(config: RunConfig, environment: Mapping[str, str]) -> list[Path]:
    """Files and folders of the host that tasks read."""
    sources = [config.model.source, config.prompts.train, *config.evaluation.prompt_sets.values()]
    sources += [each.source for each in config.reward.scorers.values() if each.source]
    sources += [each for each in (config.model.adapter, config.model.single_file_configs) if each]
    sources += [config.warm_start.run_directory] if config.warm_start is not None else []
    sources += [environment[_CREDENTIALS]] if _CREDENTIALS in environment else []
    paths = {Path(source.removeprefix(_notation(source))) for source in sources if _is_path(source)}
    return sorted(path for path in paths if not _inside(path, _written(config)))


def _absolute(source: str | None) -> str | None:
    if source is None or not _is_path(source):
        return source
    notation = _notation(source)
    return notation + str(Path(source.removeprefix(notation)).expanduser().absolute())


def _is_path(source: str) -> bool:
    """Whether a source of prompts, a model or a scorer is a path, and not in the image already."""
    if source == "shapes" or built_in(source) is not None:
        return False
    return Path(source.removeprefix(_notation(source))).expanduser().exists()


def _notation(source: str) -> str:
    return next((each for each in ("hpdv2:", "pickapic:") if source.startswith(each)), "")


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
