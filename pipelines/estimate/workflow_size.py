"""How large the workflow of a package becomes, and how many epochs keep it below what Argo can hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reward_finetuning.pipelines.estimate.workflow_status import Given, State

MOST_BYTES = 1024 * 1024
"""Argo ends a workflow whose object is larger (MAX_WORKFLOW_SIZE), without an error in Kubeflow's answer."""

MOST_SHARE = 0.6
"""Part of it that is used: repeated attempts add nodes, and nobody can tell how many."""

MOST_EPOCHS = 100
"""In one pipeline run, however small they are: its page lists every iteration."""


@dataclass(frozen=True, slots=True)
class WorkflowSize:
    """Bytes of a workflow at its end, as a linear function of its epochs."""

    fixed: int
    """Specification, and all nodes outside of epochs; for a package of unrolled epochs everything."""

    epoch: int
    """Nodes of an epoch that is not evaluated; 0 for unrolled epochs."""

    evaluation: int
    """Nodes of an evaluation; 0 for unrolled epochs."""

    evaluate_every: int
    """Epochs between two evaluations."""

    def total(self, epochs: int) -> int:
        """Bytes after a pipeline run of that many epochs; the evaluations can fall on the first and on the last one."""
        return self.fixed + epochs * self.epoch + min(epochs, epochs // self.evaluate_every + 1) * self.evaluation

    def share(self, epochs: int) -> float:
        """Part of what Argo can hold."""
        return self.total(epochs) / MOST_BYTES

    def most_epochs(self) -> int:
        """The most epochs within MOST_SHARE; 0 where not even one fits."""
        fitting = (epochs for epochs in range(MOST_EPOCHS, 0, -1) if self.share(epochs) <= MOST_SHARE)
        return next(fitting, 0)


def workflow_size(
    document: Mapping[str, Any], platform: Mapping[str, Any], *, config: str, evaluate_every: int
) -> WorkflowSize:
    """Size of the workflow of a package.

    Args:
        document: the pipeline spec.
        platform: what Kubernetes reads.
        config: what tasks get as their config, the address of the settings.
        evaluate_every: epochs between two evaluations.
    """
    policy = {"address": config, "mlflow_run": "0" * 32}

    def state(epochs: int, *, evaluates: bool) -> State:
        given = Given(epochs, evaluates, config, {"policy": policy, "next_policy": policy})
        return State(document, platform, given)

    one = state(1, evaluates=False)
    specification, first = one.specification_bytes(), one.compressed_bytes()
    evaluated = state(1, evaluates=True).compressed_bytes()
    if (epoch := state(2, evaluates=False).compressed_bytes() - first) == 0:
        return WorkflowSize(specification + evaluated, 0, 0, evaluate_every)
    return WorkflowSize(specification + first - epoch, epoch, evaluated - first, evaluate_every)
