"""The pipeline parameter `options`: settings that a person changes when a pipeline run is cloned.

The text is what `-o` takes, several settings separated by spaces: `training.learning_rate=3e-5 objective.kl_weight=1`.
"""

from __future__ import annotations

import json
import shlex
from hashlib import sha256
from typing import Any

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import UserError
from reward_finetuning.config.load import apply_override, validated
from reward_finetuning.config.run import RunConfig

_COMPILED = (
    "loop.granularity",
    "loop.epochs_per_run",
    "loop.num_shards",
    "evaluation.num_shards",
    "sampling.rollouts",
    "retraining",
)
"""Settings that decide which tasks a package has."""

_LONGEST_NAME = 128 - len("-12345678")


def address_of(config: RunConfig) -> str:
    """The run directory, as the pipeline parameter `run` has it."""
    return f"{config.run_root.rstrip('/')}/{config.name}"


def with_options(config: RunConfig, options: str, run: str = "") -> RunConfig:
    """The config with the settings of a pipeline run.

    Settings that change numbers belong to another run. It gets a name of its own, NAME-DIGEST, unless `run` or the
    options name one: the same options always lead to the same run, so that another clone resumes it.

    Args:
        config: what the package was compiled for.
        options: `section.key=value`, separated by spaces, with the quotes of a shell.
        run: address of the run directory; empty: that of the config.

    Raises:
        UserError: an option is wrong, or asks for a graph that the package does not have.
    """
    changed = _applied(_at(config, run), options)
    if len(keys := _compiled(config, changed)) > 0:
        raise UserError(f"options cannot change {', '.join(keys)}: compile and submit a package with these settings")
    # The runs of a series of retrainings have names by their settings anyway.
    is_renamed = address_of(changed) != address_of(config) or config.retraining is not None
    if is_renamed or changed.numbers() == config.numbers():
        return changed
    digest = sha256(json.dumps(changed.numbers(), sort_keys=True).encode()).hexdigest()[:8]
    return changed.model_copy(update={"name": f"{config.name[:_LONGEST_NAME]}-{digest}"})


def _applied(config: RunConfig, options: str) -> RunConfig:
    try:
        overrides = shlex.split(options)
    except ValueError as error:
        raise UserError(f"options are section.key=value, separated by spaces: {error}, got {shown(options)}") from None
    if not overrides:
        return config
    tree = config.model_dump(mode="json")
    for override in overrides:
        apply_override(tree, override)
    return validated(RunConfig, tree, "options")


def _at(config: RunConfig, run: str) -> RunConfig:
    if run.rstrip("/") in {"", address_of(config)}:
        return config
    root, slash, name = run.rstrip("/").rpartition("/")
    if not slash:
        raise UserError(f"run is the address of a run directory, such as {address_of(config)}, got {shown(run)}")
    return validated(RunConfig, config.model_dump(mode="json") | {"run_root": root, "name": name}, "run")


def _compiled(config: RunConfig, changed: RunConfig) -> list[str]:
    keys = (*_COMPILED, *(["loop.epochs"] if config.loop.granularity == "staged" else []))
    before, after = (each.model_dump(mode="json") for each in (config, changed))
    return [key for key in keys if _value(before, key) != _value(after, key)]


def _value(tree: Any, key: str) -> Any:
    for part in key.split("."):
        tree = None if tree is None else tree.get(part)
    return tree
