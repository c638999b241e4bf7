"""The settings of a pipeline run in the run directory: tasks get their address, which holds their digest.

run.json says what a run was begun with and is never changed; a later pipeline run may have more epochs, other
evaluations or other tracking. So every version of the settings is a file, `configs/DIGEST.json`, beside run.json.
"""

from __future__ import annotations

import json
from hashlib import sha256
from typing import Any

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import ArtifactError, UserError
from reward_finetuning.storage.open import open_store
from reward_finetuning.storage.store import Store

_FOLDER = "configs"


def record_config(store: Store, config: Frozen) -> str:
    """Write the settings, unless they are there already; returns their address, such as gs://b/run/configs/1a2b.json.

    Args:
        store: of the run directory.
        config: a RunConfig or an EvaluationRun.
    """
    content = config.model_dump(mode="json")
    name = f"{_FOLDER}/{_digest(content)}.json"
    store.create_text(name, _text(content))
    return f"{store.uri}/{name}"


def recorded_config(config: str) -> str:
    """The settings as JSON text.

    Args:
        config: an address from `record_config`, or JSON text, which is returned as it is.

    Raises:
        UserError: it is neither.
        ArtifactError: the file is absent, or was altered.
    """
    if config.lstrip().startswith(("{", "[")):
        return config
    run, separator, name = config.rpartition(f"/{_FOLDER}/")
    if not separator or not name.endswith(".json"):
        raise UserError(
            f"config is JSON text or the address of the settings, RUN_DIRECTORY/{_FOLDER}/DIGEST.json, "
            f"got {shown(config)}"
        )
    content = open_store(run).read_json(f"{_FOLDER}/{name}")
    if content is None:
        raise ArtifactError(f"{config} is absent: the first task of the pipeline run writes the settings there")
    if _digest(content) != name.removesuffix(".json"):
        raise ArtifactError(f"{config} was altered: its digest is {_digest(content)}")
    return json.dumps(content)


def _text(content: dict[str, Any]) -> str:
    """In the order of the run file: reports and sums of rewards follow the order of prompt sets and weights."""
    return json.dumps(content, indent=1) + "\n"


def _digest(content: dict[str, Any]) -> str:
    return sha256(_text(content).encode()).hexdigest()[:16]
