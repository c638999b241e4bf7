"""Epochs of a pipeline run on Kubeflow: as many as Argo can hold the state of."""

from __future__ import annotations

from pathlib import Path

import yaml

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.config.options import address_of
from reward_finetuning.pipelines.estimate.workflow_size import MOST_BYTES, MOST_SHARE, WorkflowSize, workflow_size

_SETTINGS = "/configs/0123456789abcdef.json"
"""What the address of the settings has behind that of the run directory."""


def size_of(package: Path, config: RunConfig) -> WorkflowSize:
    """Size of the workflow that Kubeflow makes of a package."""
    document, *platform = yaml.load_all(
        package.read_text(encoding="utf-8"), getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    )
    return workflow_size(
        document,
        platform[0] if platform else {},
        config=address_of(config) + _SETTINGS,
        evaluate_every=config.loop.evaluate_every,
    )


def epochs_of_a_run(config: RunConfig) -> int:
    """Epochs of one pipeline run of a compiled config."""
    loop = config.loop
    return loop.epochs if loop.granularity != "split" else loop.unrolled_epochs


def fitted(package: Path, config: RunConfig) -> RunConfig:
    """The config with a number of epochs in the place of `loop.epochs_per_run: auto`.

    Raises:
        UserError: the workflow would be larger than Argo can hold, with room for repeated attempts.
    """
    size = size_of(package, config)
    is_open = config.loop.epochs_per_run == "auto" and size.epoch > 0
    epochs = size.most_epochs() if is_open else epochs_of_a_run(config)
    if epochs == 0 or size.share(epochs) > MOST_SHARE:
        raise UserError(_too_large(config, size, epochs))
    if not is_open:
        return config
    loop = config.loop.model_copy(update={"epochs_per_run": min(epochs, config.loop.epochs)})
    return config.model_copy(update={"loop": loop})


def describe_workflow(package: Path, config: RunConfig) -> str:
    """The computed size of a compiled package, for the output of `rft compile`."""
    size = size_of(package, config)
    epochs = epochs_of_a_run(fitted(package, config))
    shards = f" of {config.loop.num_shards} shards" if config.loop.granularity != "fused" else ""
    return (
        f"one pipeline run: {epochs} epochs{shards}, a workflow of {size.total(epochs) / 1024:.0f} KiB, "
        f"{100 * size.share(epochs):.0f} % of what Argo can hold"
    )


def _too_large(config: RunConfig, size: WorkflowSize, epochs: int) -> str:
    number = max(epochs, 1)
    most = size.most_epochs() if size.epoch else 0
    advice = f"lower loop.epochs_per_run to {most} or write auto" if most else "lower loop.num_shards"
    return (
        f"the workflow of {number} epochs of {config.loop.num_shards} shards would be "
        f"{size.total(number) / 1024:.0f} KiB, more than {100 * MOST_SHARE:.0f} % of the {MOST_BYTES // 1024} KiB that "
        f"Argo can hold: {advice}, or use loop.granularity fused"
    )
