"""The first task of every training pipeline, and the parameters of a pipeline run that people see.

The config is a constant of that task and no parameter: on Kubeflow's pages, `run` and `options` alone are left to read,
compare and change. All other tasks take the address of the settings, which the first task writes.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

from reward_finetuning.components.next_epochs import next_epochs as next_epochs_component
from reward_finetuning.config import RunConfig
from reward_finetuning.config.base import without_placeholders
from reward_finetuning.config.options import address_of
from reward_finetuning.inputs import compiled_digests
from reward_finetuning.pipelines.targets.target import Target

SETTINGS = "settings and epochs"
"""What the first task is called on a page."""


def parameters(config: RunConfig) -> dict[str, str]:
    """The parameters of a pipeline run and their values: the address of the run directory, and no options."""
    return {"run": address_of(config), "options": ""}


def first_task(target: Target, config: RunConfig) -> Callable[..., Any]:
    """A piece of a graph: (run, options) -> the task next_epochs, which has the compiled config and its digests."""
    next_epochs = target.component(next_epochs_component)
    constants = {
        "config": config.model_dump_json(),
        "inputs": without_placeholders(json.dumps(compiled_digests(config))),
    }

    def begin(*, run: Any, options: Any) -> Any:
        return next_epochs(**constants, run=run, options=options).set_display_name(SETTINGS)

    return begin


def first_task_of_another_run(target: Target) -> Callable[..., Any]:
    """A piece of a graph: (config) -> the task next_epochs of a run that is known when the pipeline runs."""
    next_epochs = target.component(next_epochs_component)
    return lambda *, config: next_epochs(config=config, inputs="", options="", run="").set_display_name(SETTINGS)
