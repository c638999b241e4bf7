"""Prompts from a column of a dataset of the Hugging Face hub: `hf:owner/name[split].column`.

The whole notation is `hf:owner/name@revision/subset[split].column`. The rows of one commit are read through the
library `datasets`, once for a machine: they are kept in the cache as JSON Lines. HF_HOME, HF_TOKEN and HF_ENDPOINT
work as usual.
"""

from __future__ import annotations

import json
import os
import re
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from functools import lru_cache
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.config.locations import HubPrompts
from reward_finetuning.prompts.text import MAX_LINES
from reward_finetuning.server_errors import error_class, hub_is_reachable, one_line
from reward_finetuning.storage.cache import source_folder

_OTHERS = ("id", "category", "split")
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SECONDS = 20.0
"""For the answer to the one request that asks for a commit."""


def at_commit(prompts: HubPrompts) -> HubPrompts:
    """The same column at the commit that its revision leads to now; the hub is asked once for a process.

    Raises:
        UserError: there is no such dataset or revision, or it is private or gated.
        RetryableError: the hub cannot be reached.
    """
    if prompts.revision and _COMMIT.fullmatch(prompts.revision):
        return prompts
    return prompts._replace(revision=_commit(prompts))


def local_copy(prompts: HubPrompts) -> Path:
    """A file of JSON Lines with the column of a commit, and with `id`, `category` and `split` if the dataset has them.

    Raises:
        UserError: the library is not installed; there is no such dataset, split or column; or a value is no text.
        RetryableError: the hub cannot be reached.
    """
    folder = source_folder(sha256(prompts.notation.encode()).hexdigest())
    path = folder / "prompts.jsonl"
    if path.exists():
        return path
    with tempfile.NamedTemporaryFile("w", dir=folder, encoding="utf-8", delete=False) as file:
        try:
            file.writelines(json.dumps(row) + "\n" for row in _checked(prompts, _rows(prompts)))
        except BaseException:
            Path(file.name).unlink()
            raise
    os.replace(file.name, path)
    return path


def _checked(prompts: HubPrompts, rows: Iterable[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    for number, row in enumerate(rows):
        if number >= MAX_LINES:
            raise UserError(f"{prompts.notation} has more than {MAX_LINES} rows, which is the most that is read")
        text = row[prompts.column]
        if text is not None and not isinstance(text, str):
            raise UserError(
                f"{prompts.notation}, row {number}: column {prompts.column!r} must be text, got {shown(text)}"
            )
        yield row


def _rows(prompts: HubPrompts) -> Iterator[dict[str, Any]]:
    """Rows with the columns that are needed, read while they arrive."""
    with _explained(prompts):
        from datasets import load_dataset

        dataset = load_dataset(
            prompts.repository, prompts.subset, split=prompts.split, revision=prompts.revision, streaming=True
        )
        names = dataset.column_names or list(next(iter(dataset), {}))
        if prompts.column not in names:
            raise UserError(f"{prompts.notation}: the dataset has no column {prompts.column!r}; it has {shown(names)}")
        yield from dataset.select_columns([prompts.column, *(name for name in _OTHERS if name in names)])


@lru_cache
def _commit(prompts: HubPrompts) -> str:
    with _explained(prompts):
        from huggingface_hub import HfApi

        info = HfApi().dataset_info(prompts.repository, revision=prompts.revision, timeout=_SECONDS)
        return str(info.sha)


@contextmanager
def _explained(prompts: HubPrompts) -> Iterator[None]:
    """Refuse a machine without the library or the hub, and turn the errors of both into one line each."""
    what = prompts.notation
    if find_spec("datasets") is None:
        raise UserError(f"{what} is read with the library datasets: pip install 'reward-finetuning[datasets]'")
    if not hub_is_reachable():
        pin = "" if prompts.revision else "; a commit (owner/name@COMMIT) that was read before needs no hub"
        raise RetryableError(f"{what} is not in the cache of this machine and the hub cannot be reached{pin}")
    from datasets.exceptions import DatasetsError
    from huggingface_hub.errors import GatedRepoError, HfHubHTTPError, RepositoryNotFoundError, RevisionNotFoundError

    try:
        yield
    except (UserError, RetryableError):
        raise
    except GatedRepoError as error:
        raise UserError(f"{what} is gated: accept its terms on the page of the dataset and set HF_TOKEN") from error
    except (RepositoryNotFoundError, RevisionNotFoundError) as error:
        raise UserError(f"the hub has no dataset or revision {what}, or it is private: set HF_TOKEN") from error
    except HfHubHTTPError as error:
        status = error.response.status_code
        raise error_class(status)(f"the hub answered {status} for {what}: {one_line(error)}") from error
    except (DatasetsError, ValueError) as error:
        raise UserError(f"{what} cannot be read: {one_line(error)}") from error
    except OSError as error:
        raise RetryableError(f"{what} cannot be downloaded: {one_line(error)}") from error
