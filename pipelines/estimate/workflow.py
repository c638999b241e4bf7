"""The workflow that Kubeflow Pipelines makes of a compiled package: tasks, pods, and the longest chain of them.

Every task is a driver pod and an executor pod; every nested pipeline, loop, iteration and condition is one driver pod.
Argo looks at a workflow every 10 s, so each of these pods in a row costs about 10 s, whatever it does.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

Document = Mapping[str, Any]
"""The pipeline spec of a package: the first YAML document."""


@dataclass(frozen=True, slots=True)
class Steps:
    """What a part of a workflow consists of."""

    tasks: int = 0
    """Tasks that run a container."""

    pods: int = 0
    """Drivers and executors."""

    chain: int = 0
    """The most pods that run one after the other."""

    def beside(self, other: Steps) -> Steps:
        """Both at the same time."""
        return Steps(self.tasks + other.tasks, self.pods + other.pods, max(self.chain, other.chain))

    def repeated(self, count: int, *, in_a_row: bool) -> Steps:
        """`count` times this part."""
        return Steps(self.tasks * count, self.pods * count, self.chain * (count if in_a_row and count else bool(count)))

    def after(self, pods: int) -> Steps:
        """This part behind `pods` pods that it waits for."""
        return Steps(self.tasks, self.pods + pods, self.chain + pods)


@dataclass(frozen=True, slots=True)
class Workflow:
    """A package as Kubeflow Pipelines runs it."""

    document: Document
    epochs: int
    """Iterations of the loop over epochs, which alone is known when the pipeline runs."""

    evaluates: bool = True
    """False: evaluations are left out; the conditions that they depend on are not."""

    def steps(self) -> Steps:
        """The whole workflow, with the driver of its root."""
        return self._dag(self.document["root"]["dag"]).after(1)

    def _dag(self, dag: Document) -> Steps:
        ends: dict[str, int] = {}
        total = Steps()
        waiting = {name: task for name, task in dag["tasks"].items() if self.evaluates or not is_evaluation(name)}
        while waiting:
            ready = [name for name, task in waiting.items() if not self._upstream(task) & waiting.keys()]
            for name in ready:
                task = waiting.pop(name)
                steps = self._task(task)
                begins = max((ends.get(other, 0) for other in self._upstream(task)), default=0)
                ends[name] = begins + steps.chain
                total = total.beside(Steps(steps.tasks, steps.pods, ends[name]))
        return total

    def _task(self, task: Document) -> Steps:
        component = self.document["components"][task["componentRef"]["name"]]
        if "executorLabel" in component:
            return Steps(tasks=1, pods=2, chain=2)
        inside = self._dag(component["dag"])
        if (iterator := task.get("parameterIterator")) is None:
            return inside.after(1)
        in_a_row = task.get("iteratorPolicy", {}).get("parallelismLimit") == 1
        return inside.after(1).repeated(self._count(iterator["items"]), in_a_row=in_a_row).after(1)

    def _count(self, items: Document) -> int:
        return len(json.loads(items["raw"])) if "raw" in items else self.epochs

    @staticmethod
    def _upstream(task: Document) -> set[str]:
        return set(task.get("dependentTasks", ()))


def is_evaluation(task: str) -> bool:
    """Whether a task of that name draws, scores or compares images of an evaluation."""
    return task.startswith(("evaluate", "evaluation-shards"))
