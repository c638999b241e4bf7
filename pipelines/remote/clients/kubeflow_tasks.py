"""The tasks of a Kubeflow run, from the nodes of its Argo workflow.

Kubeflow Pipelines reports every node of the workflow (task_details) with a display name, a state and the ids of its
children, but without its own id, which `nodes/ID/log` takes. Argo derives the id of a node from its full name
(WORKFLOW-HASH, with the FNV-1a hash of the full name: Workflow.NodeID), and a full name consists of the display names
of the parents and of the node. So the full names are the paths of display names whose hash occurs among the ids. A
retried node `NAME` has a child `NAME(0)`, `NAME(1)`, ... per attempt. A component runs in the node
`.../TASK(0).executor`, a driver in the node `.../TASK-driver`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from typing import Any

from reward_finetuning.pipelines.remote.clients.protocol import Attempt, RemoteTask, State

_STATES = {"SUCCEEDED": State.SUCCEEDED, "SKIPPED": State.SUCCEEDED, "FAILED": State.FAILED, "PENDING": State.PENDING}
_MOST_ATTEMPTS = 100
_EXECUTOR, _DRIVER = "executor", "-driver"


def tasks_of(details: Sequence[Any]) -> tuple[RemoteTask, ...]:
    """The tasks and drivers that have started, oldest first.

    Args:
        details: `run_details.task_details` of kfp_server_api.
    """
    nodes = _Nodes(details)
    pods = [name for name in nodes.names if name.endswith((f".{_EXECUTOR}", _DRIVER))]
    started = [(nodes.detail(name), name) for name in pods]
    ordered = sorted(((detail.start_time, name, detail) for detail, name in started if detail is not None))
    return tuple(_task(nodes, name, detail) for _, name, detail in ordered)


def _task(nodes: _Nodes, name: str, detail: Any) -> RemoteTask:
    ids = nodes.attempts(name)
    state = _STATES.get(detail.state, State.RUNNING)
    if state is State.RUNNING and nodes.is_waiting(f"{_segments(name)[-1]}({len(ids) - 1})", detail.start_time):
        state = State.PENDING
    # Argo starts the next attempt only after the one before has failed.
    states = [*[State.FAILED] * (len(ids) - 1), state]
    attempts = tuple(Attempt(each, log) for each, log in zip(states, ids, strict=True))
    return RemoteTask(_label(name), state, attempts)


class _Nodes:
    """Full names of the nodes that have ids."""

    def __init__(self, details: Sequence[Any]) -> None:
        self._details = details
        ids = {child.pod_name for detail in details for child in detail.child_tasks or ()}
        self._workflow = next(iter(ids)).rpartition("-")[0] if ids else ""
        self._hashes = {int(each.rpartition("-")[2]) for each in ids if each.rpartition("-")[0] == self._workflow}
        self.names = dict(self._walk())

    def _walk(self) -> Iterator[tuple[str, int]]:
        """(full name, hash) of every node below the root."""
        displays = {detail.display_name for detail in self._details}
        # Iterations of a loop and attempts are in brackets: `(0:item)` and `(0)`.
        brackets = {bracket for display in displays for bracket in re.findall(r"\([^()]*\)", display)}
        suffixes = [*(f".{display}" for display in displays), *brackets]
        waiting = [(self._workflow, _fnv(self._workflow.encode()))]
        known: set[int] = set()
        while waiting:
            parent, digest = waiting.pop()
            for suffix in suffixes:
                child = _fnv(suffix.encode(), digest)
                if child in self._hashes and child not in known:
                    known.add(child)
                    waiting.append((parent + suffix, child))
                    yield parent + suffix, child

    def detail(self, name: str) -> Any | None:
        """What is reported of the retried node `name`: the one that has its attempts as children."""
        ids = set(self.attempts(name))
        display = _segments(name)[-1]
        matches = (each for each in self._details if each.display_name == display)
        return next((each for each in matches if ids & {child.pod_name for child in each.child_tasks or ()}), None)

    def attempts(self, name: str) -> list[str]:
        """Ids of the attempts of a retried node, oldest first."""
        names = (f"{name}({number})" for number in range(_MOST_ATTEMPTS))
        return [f"{self._workflow}-{self.names[each]}" for each in names if each in self.names]

    def is_waiting(self, display: str, since: Any) -> bool:
        """Whether a pod of this display name, started at `since` or later, is pending."""
        pods = (each for each in self._details if each.display_name == display and not each.child_tasks)
        return any(each.state == "PENDING" and each.start_time >= since for each in pods)


def _label(name: str) -> str:
    """The place of a task in the pipeline: `epoch-2/sample[0]` of `NAME(0).root(0).epoch-2(0)...sample(0).executor`."""
    *graphs, last = _segments(name.removesuffix(f".{_EXECUTOR}"))[1:]
    iterations = "".join(f"[{match[1]}]" for segment in graphs if (match := re.search(r"\((\d+):", segment)))
    plain = [re.sub(r"(\([^()]*\))+$", "", segment) for segment in (*graphs, last)]
    shown = [part for part in plain[:-1] if not re.fullmatch(r"root|(for-loop|condition)-\d+|iteration-\w+", part)]
    return "/".join([*shown, plain[-1]]) + iterations


def _segments(name: str) -> list[str]:
    """`a(0)`, `b(0:x.y)`, `c` of `a(0).b(0:x.y).c`."""
    return re.findall(r"(?:[^.()]|\([^()]*\))+", name)


def _fnv(text: bytes, digest: int = 0x811C9DC5) -> int:
    """FNV-1a with 32 bits of what precedes, whose hash is `digest`, and `text`."""
    for byte in text:
        digest = ((digest ^ byte) * 0x01000193) & 0xFFFFFFFF
    return digest
