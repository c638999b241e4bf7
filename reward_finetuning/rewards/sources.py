"""Where a scorer's files lie: a folder, or the hub at a pinned commit; and their checksums. Needs no torch."""

from __future__ import annotations

import re
from collections.abc import Sequence
from hashlib import file_digest, sha256
from importlib.util import find_spec
from pathlib import Path

from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.config.locations import in_bucket
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.catalogue import Model, PublishedFile
from reward_finetuning.server_errors import error_class, hub_is_reachable, one_line

_COMMIT = re.compile(r"[0-9a-f]{40}")
_HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*")
_digests: dict[tuple[str, int, int], str] = {}


def check(model: Model, settings: ScorerConfig) -> None:
    """Refuse a source that cannot work, as far as can be told without reading weights.

    Raises:
        UserError: settings that these scorers do not have, a folder that lacks files, an unpinned or malformed hub id.
    """
    where = f"reward.scorers.{model.scorer}"
    for field in ("use", "groupwise", "url", "chat", "timeout_seconds", "retries", "token_env"):
        if getattr(settings, field) != ScorerConfig.model_fields[field].default:
            raise UserError(
                f"{where}.{field}: this scorer runs here, from weights; it has source, revision, device, dtype"
            )
    folder = _folder(model, settings)
    if folder is None:
        _check_hub(model, settings)
        return
    if settings.revision is not None:
        raise UserError(f"{where}.revision belongs to a hub id, but source {folder} is a folder: remove it")
    _from_folder(model, folder)


def locate(model: Model, settings: ScorerConfig) -> dict[str, Path]:
    """The scorer's files by role, downloaded into the hub's cache where they are not there yet.

    Raises:
        UserError: as `check`; or the hub has no such file.
        RetryableError: the hub cannot be reached.
    """
    check(model, settings)
    folder = _folder(model, settings)
    if folder is not None:
        return _from_folder(model, folder)
    return {role: download(model, file, settings) for role, file in model.files.items()}


def digest(model: Model, settings: ScorerConfig) -> str:
    """What the scores depend on: sha256 over the files' sha256, by role; over their commits where they are on the hub.

    A commit says what its files are, so a laptop or a light task need not download gigabytes to know them.
    """
    check(model, settings)
    folder = _folder(model, settings)
    if folder is not None:
        parts = {role: file_sha256(path) for role, path in _from_folder(model, folder).items()}
    else:
        parts = {role: _at_commit(model, file, settings) for role, file in model.files.items()}
    return sha256("".join(parts[role] for role in sorted(parts)).encode()).hexdigest()


def file_sha256(path: Path) -> str:
    """sha256 of a file; read again only when its size or time of change differs."""
    stat = path.stat()
    key = (str(path.resolve()), stat.st_size, stat.st_mtime_ns)
    if key not in _digests:
        with path.open("rb") as file:
            _digests[key] = file_digest(file, "sha256").hexdigest()
    return _digests[key]


def download(model: Model, file: PublishedFile, settings: ScorerConfig) -> Path:
    """A published file in the hub's cache; HF_HUB_OFFLINE and HF_HOME work as everywhere. A package must be installed.

    Raises:
        UserError: the hub has no such repository, commit or file, or asks for a licence to be accepted; or the package
            that contains the file is not installed.
        RetryableError: the hub cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import (
        EntryNotFoundError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    if file.package is not None:
        return _of_package(model, file, file.package)
    repository, revision = _pinned(model, file, settings)
    what = f"{file.name} of {repository} at {revision or 'main'}"
    elsewhere = f"where there is network, run: rft fetch-weights {model.scorer} --to DIR --download; then set source"
    try:
        cached_only = not hub_is_reachable()
        return Path(hf_hub_download(repository, file.name, revision=revision, local_files_only=cached_only))
    except LocalEntryNotFoundError as error:
        raise RetryableError(f"{what} is not in the hub's cache and the hub cannot be reached; {elsewhere}") from error
    except (EntryNotFoundError, RepositoryNotFoundError) as error:
        raise UserError(f"the hub has no {what}, or wants its terms accepted first: {one_line(error)}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise error_class(status)(f"the hub answered {status} for {what}: {one_line(error)}") from error
    except OSError as error:
        raise RetryableError(f"{what} cannot be downloaded: {one_line(error)}; {elsewhere}") from error


def _of_package(model: Model, file: PublishedFile, path: str) -> Path:
    """A file of an installed package, which is not imported."""
    package, _, inside = path.partition("/")
    spec = find_spec(package)
    installed = Path(spec.origin).parent / inside if spec is not None and spec.origin is not None else None
    if installed is None or not installed.is_file():
        raise UserError(
            f"{file.name} of {model.scorer} is a file of the Python package {file.repository.name}: "
            f"pip install --no-deps {file.repository.name}, or put the file into the folder that source names"
        )
    return installed


def _folder(model: Model, settings: ScorerConfig) -> Path | None:
    """The folder that `source` names; None for the hub."""
    if settings.source is None:
        return None
    where = f"reward.scorers.{model.scorer}.source"
    if in_bucket(settings.source):
        return from_bucket(model, settings.source)
    folder = Path(settings.source).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise UserError(f"{where}: {settings.source} is a file; give the folder that holds {_listing(model)}")
    if _HUB_ID.fullmatch(settings.source):
        return None
    raise UserError(f"{where}: {settings.source!r} is no folder and no hub id (owner/name)")


def from_bucket(model: Model, uri: str) -> Path:
    """A folder in a bucket as one of this machine, with those files that the scorer reads."""
    from reward_finetuning.storage.folders import local_folder  # an official package's environment has no client

    def choose(names: Sequence[str]) -> list[str]:
        wanted = (next((name for name in file.names if name in names), None) for file in model.files.values())
        return ["config.json", *(name for name in wanted if name is not None)]

    return local_folder(uri, choose)


def _from_folder(model: Model, folder: Path) -> dict[str, Path]:
    files = {}
    for role, file in model.files.items():
        path = next((folder / name for name in file.names if (folder / name).is_file()), None)
        if path is None:
            raise UserError(
                f"{folder} holds no {' or '.join(file.names)}, the {role} of {model.scorer}; "
                f"what it needs: {_listing(model)}; to fetch it: rft fetch-weights {model.scorer} --to DIR --download"
            )
        if path.stat().st_size == 0:
            raise UserError(f"{path}, the {role} of {model.scorer}, is empty; fetch it again")
        files[role] = path
    # Published checkpoints that come without one have the architecture that their scorer names.
    if (config := folder / "config.json").is_file():
        files["config"] = config
    return files


def _check_hub(model: Model, settings: ScorerConfig) -> None:
    where = f"reward.scorers.{model.scorer}"
    repository = model.repository
    if settings.revision is not None and not _COMMIT.fullmatch(settings.revision):
        raise UserError(
            f"{where}.revision: a commit of 40 hex digits is needed, for branches move; got {settings.revision!r}"
        )
    if settings.revision is None and settings.source not in {None, repository.name}:
        raise UserError(
            f"{where}: there is no folder {settings.source}; a hub id needs a revision, the commit of 40 hex digits"
        )
    for file in model.files.values():
        if file.package is not None:
            _of_package(model, file, file.package)


def _pinned(model: Model, file: PublishedFile, settings: ScorerConfig) -> tuple[str, str | None]:
    """Repository and commit of a file: the config replaces where the weights are, and what lies beside them."""
    if file.repository != model.repository:
        return file.repository.name, file.repository.revision
    return settings.source or file.repository.name, settings.revision or file.repository.revision


def _at_commit(model: Model, file: PublishedFile, settings: ScorerConfig) -> str:
    repository, revision = _pinned(model, file, settings)
    return f"{repository}@{revision or file.sha256}:{file.name}\n"


def _listing(model: Model) -> str:
    return ", ".join(file.names[0] for file in model.files.values())
