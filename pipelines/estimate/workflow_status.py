"""The state of a workflow as Argo keeps it: nodes with the inputs and outputs of Kubeflow's drivers, and its size.

Argo stores a workflow, specification included, as one object of at most 1 MiB. The specification is stored as it is,
the state of the nodes compressed (gzip, then base64). A task with a container has six nodes, and each of them repeats
what the task is given: command, inputs, and artifacts with their metadata. The nodes here imitate that; their size is
compared with a real installation in benchmarks/README.md.
"""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

Document = Mapping[str, Any]
Node = dict[str, Any]

_SPECIFICATION = (26_600, 1.95)
"""Bytes of an Argo specification: a constant, and per byte of the package as JSON, in which equal containers count
once, as they are stored once. Measured: 101 KB for 38 KB, 159 KB for 68 KB."""

_CALIBRATION = 1.12
"""Measured bytes per byte of this imitation: 193 KB an epoch of 16 shards. For 2 epochs of 2 shards, where 84 KB were
measured, it is 11 % too much."""


@dataclass(frozen=True, slots=True)
class Given:
    """What tasks are given when a package runs."""

    epochs: int
    """Iterations of the loop over epochs."""

    evaluates: bool
    """Whether the branches of conditions are taken: every epoch is evaluated."""

    config: str
    """Value of the parameter `config` of a task, where the package does not say it."""

    metadata: Mapping[str, Document]
    """Metadata of artifacts, by the name of the output or input."""


@dataclass(frozen=True, slots=True)
class State:
    """A package, as a workflow that has run to its end."""

    document: Document
    """The pipeline spec: the first YAML document of the package."""

    platform: Document
    """The second document, which Kubernetes reads."""

    given: Given
    workflow: str = "online-split-x2x4x"

    def specification_bytes(self) -> int:
        """Size of the specification."""
        containers = [json.dumps(each["container"]) for each in self.document["deploymentSpec"]["executors"].values()]
        repeated = sum(map(len, containers)) - sum(map(len, set(containers)))
        constant, factor = _SPECIFICATION
        return int(constant + factor * (len(json.dumps([self.document, self.platform])) - repeated))

    def nodes(self) -> list[Node]:
        """All nodes."""
        root = f"{self.workflow}(0).root"
        nodes = [self._node(self.workflow), self._node(f"{self.workflow}(0)")]
        inputs = {"component": json.dumps(self.document["root"]), "runtime-config": json.dumps(self._parameters())}
        nodes += self._driver(f"{root}-driver", inputs)
        return nodes + self._pair(root) + list(self._dag(self.document["root"]["dag"], f"{root}(0)"))

    def compressed_bytes(self) -> int:
        """Size of the nodes as Argo stores them, by the measured ratio to this imitation."""
        # A JSON object of Go is sorted by its keys, which are hashes of the names: copies lie far apart.
        nodes = {_id(node["name"]): node for node in self.nodes()}
        stored = base64.b64encode(gzip.compress(json.dumps(nodes, sort_keys=True).encode(), compresslevel=6, mtime=0))
        return int(_CALIBRATION * len(stored))

    def _parameters(self) -> dict[str, str]:
        defined = self.document["root"].get("inputDefinitions", {}).get("parameters", {})
        return {name: str(each.get("defaultValue", "")) for name, each in defined.items()}

    def _dag(self, dag: Document, path: str) -> Iterator[Node]:
        for name, task in dag["tasks"].items():
            component = self.document["components"][task["componentRef"]["name"]]
            if "executorLabel" in component:
                yield from self._container(f"{path}.{name}", name, task, component)
            elif (iterator := task.get("parameterIterator")) is not None:
                yield from self._loop(f"{path}.{name}", task, component, iterator["items"])
            elif "triggerPolicy" in task and not self.given.evaluates:
                yield from self._driver(f"{path}.{name}-driver", _inputs_of(task, component))
                yield self._node(f"{path}.{name}")
            else:
                yield from self._driver(f"{path}.{name}-driver", _inputs_of(task, component))
                yield from self._pair(f"{path}.{name}")
                yield from self._dag(component["dag"], f"{path}.{name}(0)")

    def _loop(self, path: str, task: Document, component: Document, items: Document) -> Iterator[Node]:
        count = len(json.loads(items["raw"])) if "raw" in items else self.given.epochs
        yield from self._pair(path)
        yield from self._driver(f"{path}(0).iteration-driver", _inputs_of(task, component))
        yield self._node(f"{path}(0).iteration-iterations")
        for index in range(count):
            one = f"{path}(0).iteration-iterations({index}:{index})"
            yield from self._pair(one)
            yield from self._driver(f"{one}(0).iteration-item-driver", _inputs_of(task, component))
            yield from self._pair(f"{one}(0).iteration-item")
            yield from self._dag(component["dag"], f"{one}(0).iteration-item(0)")

    def _container(self, path: str, name: str, task: Document, component: Document) -> Iterator[Node]:
        label = component["executorLabel"]
        container = self.document["deploymentSpec"]["executors"][label]["container"]
        kubernetes = self.platform.get("platforms", {}).get("kubernetes", {}).get("deploymentSpec", {})
        pod = kubernetes.get("executors", {}).get(label, {})
        patch = {"pod-spec-patch": json.dumps(self._pod(path, name, task, component, container, pod))}
        inputs = _inputs_of(task, component) | {
            "container": json.dumps(container),
            "kubernetes-config": json.dumps(pod),
        }
        yield from self._driver(f"{path}-driver", inputs, patch | {"cached-decision": "false", "condition": ""})
        for each in (path, f"{path}(0)", f"{path}(0).executor", f"{path}(0).executor(0)"):
            yield self._node(each, patch | ({"cached-decision": "false"} if each == path else {}))

    def _pod(
        self, path: str, name: str, task: Document, component: Document, container: Document, pod: Document
    ) -> dict[str, Any]:
        launcher = [
            "--pipeline_name", self.document["pipelineInfo"]["name"],
            "--run_id", _uuid(self.workflow),
            "--execution_id", str(int(_digest(path), 16) % 10_000),
            "--executor_input", json.dumps(self._executor_input(path, name, task, component)),
            "--component_spec", json.dumps(component),
            "--pod_name", "$(KFP_POD_NAME)",
            "--pod_uid", "$(KFP_POD_UID)",
            "--mlmd_server_address", "metadata-grpc-service.kubeflow.svc.cluster.local",
            "--mlmd_server_port", "8080",
            "--publish_logs", "true",
            "--cache_disabled", "false",
            "--",
        ]  # fmt: skip
        main = {
            "name": "main",
            "image": container["image"],
            "command": ["/kfp-launcher/launch"],
            "args": [*launcher, *container["command"], *container.get("args", [])],
            "env": container.get("env", []),
            "resources": {"limits": container.get("resources", {})},
        }
        return {"containers": [main], **pod}

    def _executor_input(self, path: str, name: str, task: Document, component: Document) -> dict[str, Any]:
        inputs, outputs = component.get("inputDefinitions", {}), component.get("outputDefinitions", {})
        given = task.get("inputs", {})
        parameters = {key: self._value(key, each) for key, each in given.get("parameters", {}).items()}
        read = {key: [self._artifact(f"{path}{key}", key, each)] for key, each in inputs.get("artifacts", {}).items()}
        made = {key: [self._artifact(f"{path}{key}", "", each)] for key, each in outputs.get("artifacts", {}).items()}
        files = {key: {"outputFile": f"/tmp/kfp/outputs/{key}"} for key in outputs.get("parameters", {})}
        return {
            "inputs": {
                "parameterValues": parameters,
                "artifacts": {key: {"artifacts": a} for key, a in read.items()},
            },
            "outputs": {
                "parameters": files,
                "artifacts": {key: {"artifacts": a} for key, a in made.items()},
                "outputFile": f"/tmp/kfp_outputs/{name}/output_metadata.json",
            },
        }

    def _value(self, name: str, value: Document) -> Any:
        if "runtimeValue" in value:
            return value["runtimeValue"].get("constant", "")
        return self.given.config if name == "config" else "1" * 20

    def _artifact(self, path: str, name: str, definition: Document) -> dict[str, Any]:
        uri = f"store/bucket/pipelines/{self.workflow}/{_uuid(self.workflow)}/task/{_uuid(path)}/{name or 'output'}"
        session = json.dumps({"Provider": "gs", "Params": {"fromEnv": "true"}})
        metadata = {"display_name": name, "store_session_info": session} | dict(self.given.metadata.get(name, {}))
        kind = definition.get("artifactType", {"schemaTitle": "system.Artifact", "schemaVersion": "0.0.1"})
        return {
            "artifactId": str(int(_digest(path), 16) % 10_000),
            "name": _uuid(uri),
            "type": kind,
            "uri": uri,
            "metadata": metadata,
        }

    def _driver(self, path: str, inputs: Mapping[str, str], outputs: Mapping[str, str] | None = None) -> list[Node]:
        more = {
            "parent-dag-id": "12",
            "iteration-index": "-1",
            "driver-type": "DAG",
            "task-name": path.rpartition(".")[2],
        }
        made = outputs or {"execution-id": "123", "iteration-count": "1", "condition": "true"}
        return [self._node(each, {**inputs, **more}, made) for each in (path, f"{path}(0)")]

    def _pair(self, path: str) -> list[Node]:
        return [self._node(each, {"parent-dag-id": "12"}) for each in (path, f"{path}(0)")]

    def _node(
        self, path: str, inputs: Mapping[str, str] | None = None, outputs: Mapping[str, str] | None = None
    ) -> Node:
        """One node, with the fields that Argo 4 writes."""
        node: Node = {
            "id": _id(path),
            "name": path,
            "displayName": path.rpartition(".")[2],
            "type": "Pod" if path.endswith("(0)") else "Retry",
            "templateName": "system-container-driver",
            "templateScope": f"local/{self.workflow}",
            "phase": "Succeeded",
            "boundaryID": _id(path.rpartition(".")[0]),
            "startedAt": _time(path),
            "finishedAt": _time(f"{path} end"),
            "progress": "1/1",
            "resourcesDuration": {"cpu": int(_digest(path), 16) % 60, "memory": int(_digest(path), 16) % 900},
            "hostNodeName": f"gke-rft-pool-{_digest(path)[:4]}",
            "children": [_id(f"{path}(0)")],
        }
        if inputs:
            node["inputs"] = {"parameters": [{"name": key, "value": value} for key, value in inputs.items()]}
        if outputs:
            logs = {"name": "main-logs", "s3": {"key": f"private-artifacts/{self.workflow}/{_id(path)}/main.log"}}
            parameters = [
                {"name": key, "value": value, "valueFrom": {"path": f"/tmp/outputs/{key}", "default": ""}}
                for key, value in outputs.items()
            ]
            node["outputs"] = {"parameters": parameters, "artifacts": [logs], "exitCode": "0"}
        return node


def _inputs_of(task: Document, component: Document) -> dict[str, str]:
    return {"component": json.dumps(component), "task": json.dumps(task)}


def _time(path: str) -> str:
    seconds = int(_digest(path), 16) % 3600
    return f"2026-11-27T00:{seconds // 60:02d}:{seconds % 60:02d}Z"


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest()


def _id(name: str) -> str:
    return f"online-split-x2x4x-{int(_digest(name)[:8], 16)}"


def _uuid(name: str) -> str:
    digest = _digest(name)
    return f"{digest[:8]}-{digest[8:12]}-{digest[12:16]}-{digest[16:20]}-{digest[20:32]}"
