"""Pipelines from the hub, at a pinned commit; HF_HUB_OFFLINE, HF_HOME, HF_TOKEN, HF_ENDPOINT work as usual."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.policy.pretrained.folder import check_folder, pipeline_class
from reward_finetuning.policy.pretrained.source import pinned_revision
from reward_finetuning.server_errors import error_class, hub_is_reachable, one_line

_INDEX = "model_index.json"


def hub_folder(model: ModelConfig) -> Path:
    """The model's folder in the hub's cache, downloaded where it is not there yet.

    Raises:
        UserError: the hub has no such model or commit, or wants its terms accepted.
        RetryableError: the hub cannot be reached.
    """
    import diffusers
    from huggingface_hub import hf_hub_download

    revision = pinned_revision(model)
    with _explained(model.source, revision):
        cached = not hub_is_reachable()
        index = Path(hf_hub_download(model.source, _INDEX, revision=revision, local_files_only=cached))
        name = pipeline_class(index.parent)
        loader = getattr(diffusers, name, diffusers.DiffusionPipeline)
        return Path(loader.download(model.source, revision=revision, variant=model.variant, local_files_only=cached))


def fetch_pipeline(source: str, revision: str | None, variant: str | None, to: Path) -> Path:
    """Copy a hub's pipeline into the folder `to`/NAME; returns that folder.

    Raises:
        UserError: as `hub_folder`; or what came is no Stable Diffusion pipeline.
        RetryableError: the hub cannot be reached.
    """
    import shutil

    model = ModelConfig(source=source, revision=revision, variant=variant)
    cached = hub_folder(model)
    check_folder(cached, "hub id")
    folder = to / source.rpartition("/")[2]
    partial = folder.with_name(f".{folder.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    shutil.copytree(cached, partial)  # links of the cache become files
    shutil.rmtree(folder, ignore_errors=True)
    partial.rename(folder)
    return folder


@contextmanager
def _explained(source: str, revision: str) -> Iterator[None]:
    """Turn the hub client's errors into one line that says what to do."""
    from huggingface_hub.errors import (
        EntryNotFoundError,
        GatedRepoError,
        HfHubHTTPError,
        LocalEntryNotFoundError,
        RepositoryNotFoundError,
    )

    what = f"model.source {source} at {revision}"
    fetch = f"rft fetch-weights {source} --revision {revision} --to DIR --download"
    try:
        yield
    except GatedRepoError as error:
        raise UserError(
            f"{what} is gated: accept its terms on the hub's page of {source}, set HF_TOKEN, then run: {fetch}"
        ) from error
    except LocalEntryNotFoundError as error:
        raise RetryableError(
            f"{what} is not in the hub's cache and the hub cannot be reached; where there is network run: {fetch} "
            f"and set model.source to the folder"
        ) from error
    except (EntryNotFoundError, RepositoryNotFoundError) as error:
        raise UserError(
            f"the hub has no {what} with a {_INDEX}, or it is private: set HF_TOKEN, then run: {fetch}"
        ) from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise error_class(status)(f"the hub answered {status} for {what}; try again with: {fetch}") from error
    except OSError as error:
        raise RetryableError(f"{what} cannot be downloaded: {one_line(error)}; try again with: {fetch}") from error


def push_folder(folder: Path, repository: str) -> str:
    """Upload an exported folder as a private model; returns its address.

    Raises:
        UserError: no token, or one that may not write there.
        RetryableError: the hub cannot be reached.
    """
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HFValidationError

    if get_token() is None:
        raise UserError(
            f"to push to {repository} the hub wants a token that may write: set HF_TOKEN; {folder} is whole"
        )
    api = HfApi()
    try:
        api.create_repo(repository, private=True, exist_ok=True)
        return str(api.upload_folder(repo_id=repository, folder_path=folder, commit_message="Reward-finetuned policy"))
    except HFValidationError as error:
        raise UserError(f"--push {repository!r} is no hub id (owner/name): {one_line(error)}") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        reason = f"the hub answered {status} to the upload of {folder} as {repository}: {one_line(error)}"
        raise error_class(status)(reason) from error
    except OSError as error:
        raise RetryableError(f"{folder} cannot be uploaded to {repository}: {one_line(error)}") from error
