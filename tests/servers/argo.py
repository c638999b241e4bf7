"""Nodes of an Argo workflow as Kubeflow Pipelines 2.17 reports them in `run_details.task_details`.

Recorded from a real installation: a retried node has a child per attempt; a task is a DAG with a driver beside it and
an `executor` inside; ids stand only in `child_tasks`; states of a finished run may lag behind. The ids are those of
Argo (WORKFLOW-FNV1a of the full name); the records confirm it for every node of every recorded run.
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

Object = dict[str, Any]
Node = tuple[str, list[str]]
"""State, and full names of the children."""

MOMENT = "2026-11-27T00:17:39Z"


def node_id(workflow: str, name: str) -> str:
    """Workflow.NodeID of Argo."""
    if name == workflow:
        return workflow
    return f"{workflow}-{reduce(lambda h, byte: ((h ^ byte) * 16777619) % 2**32, name.encode(), 2166136261)}"


def details(run_id: str, workflow: str, tasks: Mapping[str, Sequence[str]]) -> list[Object]:
    """task_details of a run.

    Args:
        run_id: of the run.
        workflow: its Argo workflow.
        tasks: name of a task below the root -> states of its attempts; a name that ends in `-driver` is a driver.
    """
    root = f"{workflow}(0).root"
    nodes: dict[str, Node] = {
        workflow: ("RUNNING", [f"{workflow}(0)"]),
        f"{workflow}(0)": ("RUNNING", [f"{root}-driver", root]),
    }
    nodes |= {root: ("RUNNING", [f"{root}(0)"]), f"{root}(0)": ("RUNNING", [])}
    nodes |= _retried(f"{root}-driver", ["SUCCEEDED"])
    for task, states in tasks.items():
        path = f"{workflow}(0).{task}" if task == "root-driver" else f"{root}(0).{task}"
        if task.endswith("-driver"):
            nodes |= _retried(path, states)
            nodes[f"{root}(0)"][1].append(path)
            continue
        nodes |= _retried(f"{path}-driver", ["SUCCEEDED"])
        nodes |= {path: (states[-1], [f"{path}(0)"]), f"{path}(0)": (states[-1], [f"{path}(0).executor"])}
        nodes |= _retried(f"{path}(0).executor", states)
        nodes[f"{root}(0)"][1].extend([f"{path}-driver", path])
    return [_detail(run_id, workflow, name, state, below) for name, (state, below) in nodes.items()]


def log_node(workflow: str, task: str, attempt: int) -> str:
    """Id of the node that holds the log of an attempt, 0 being the first."""
    root = f"{workflow}(0).root"
    if task == "root-driver":
        return node_id(workflow, f"{root}-driver({attempt})")
    inside = "" if task.endswith("-driver") else "(0).executor"
    return node_id(workflow, f"{root}(0).{task}{inside}({attempt})")


def _retried(path: str, states: Sequence[str]) -> dict[str, Node]:
    attempts = [f"{path}({number})" for number in range(len(states))]
    whole = "RUNNING" if states[-1] == "PENDING" else states[-1]
    return {path: (whole, attempts)} | {name: (state, []) for name, state in zip(attempts, states, strict=True)}


def _detail(run_id: str, workflow: str, name: str, state: str, below: Sequence[str]) -> Object:
    children = {"child_tasks": [{"pod_name": node_id(workflow, child)} for child in below]} if below else {}
    times = {"create_time": MOMENT, "start_time": MOMENT, "end_time": MOMENT}
    history = {"state_history": [{"update_time": MOMENT, "state": state}]}
    head = {"run_id": run_id, "task_id": str(uuid.uuid4()), "display_name": name.rpartition(".")[2]}
    return head | times | {"state": state} | history | children
