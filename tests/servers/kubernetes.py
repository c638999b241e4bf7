"""A Kubernetes API on loopback with TrainJobs and pods, as far as a launcher needs it.

The states of a job are those of `life`, or its program runs: one process tree per node, with the environment of
Kubeflow Trainer, on 127.0.0.1. Errors have the form of a Kubernetes Status. A missing right (RBAC) and the denial of a
webhook are recorded from Kubernetes 1.34 with Kubeflow Trainer 2.3. An exceeded quota, an invalid object (422) and an
unknown resource follow the source of the API server.
"""

import json
import os
import re
import socket
import subprocess
import sys
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler
from pathlib import Path
from typing import Self

import yaml
from servers.loopback import LoopbackServer
from servers.trainjob_rules import WEBHOOK, Manifest, refusal_of_schema, refusal_of_webhook

TRAINJOBS = re.compile(r"/apis/trainer\.kubeflow\.org/v1alpha1/namespaces/([^/]+)/trainjobs(?:/([^/]+))?$")
PODS = re.compile(r"/api/v1/namespaces/([^/]+)/pods$")

Answer = tuple[int, Manifest]
"""Status code and body."""


class KubernetesServer:
    """`with KubernetesServer(folder) as server`: KUBECONFIG for it is `server.kubeconfig`."""

    def __init__(self, folder: Path, executes: bool = False) -> None:
        self.folder, self.executes = folder, executes
        self.jobs: dict[str, Manifest] = {}
        self.nodes: dict[str, list[subprocess.Popen[bytes]]] = {}
        self.life = ["Complete"]  # states at one look after the other; the last one stays
        self.words: list[str] = []  # what pods left in their termination logs
        self.lost = 0  # requests whose connection breaks without an answer
        # (status code, message or whole answer): sent instead of an answer to the request
        self.answers: list[tuple[int, str | Manifest]] = []
        self.requests: list[tuple[str, str | None]] = []  # (method, name of the job; None if it is created)
        self._http = LoopbackServer(_handler(self))
        self.kubeconfig = self.folder / "kubeconfig"

    def __enter__(self) -> Self:
        self._http.__enter__()
        context = {"cluster": "loopback", "user": "tester", "namespace": "team"}
        config = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": context}],
            "clusters": [{"name": "loopback", "cluster": {"server": self._http.url}}],
            "users": [{"name": "tester", "user": {"token": "secret"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))
        return self

    def __exit__(self, *_: object) -> None:
        self._http.__exit__()
        for name in list(self.nodes):
            self.end(name)

    def made(self) -> int:
        """How many jobs were created."""
        return sum(method == "POST" for method, _ in self.requests)

    def create(self, namespace: str, job: Manifest) -> Answer:
        name = job["metadata"]["name"]
        if name in self.jobs:
            return 409, status("AlreadyExists", f'trainjobs.trainer.kubeflow.org "{name}" already exists', 409)
        if refusal := refusal_of_schema(job):
            return 422, status("Invalid", f'TrainJob.trainer.kubeflow.org "{name}" is invalid: {refusal}', 422)
        if refusal := refusal_of_webhook(job):
            return 403, denied(refusal)
        job["metadata"] |= {"namespace": namespace, "uid": f"uid-{len(self.requests)}"}
        job["looks"] = 0
        self.jobs[name] = job
        if self.executes:
            self.nodes[name] = _start_nodes(job, self.folder / name)
        return 201, job

    def look(self, name: str) -> Answer:
        """The job as it is now."""
        if name not in self.jobs:
            return 404, status("NotFound", f'trainjobs.trainer.kubeflow.org "{name}" not found', 404)
        job = self.jobs[name]
        state = self._of_nodes(name) if name in self.nodes else self.life[min(job["looks"], len(self.life) - 1)]
        job["looks"] += 1
        return 200, {key: value for key, value in job.items() if key != "looks"} | {"status": _job_status(state)}

    def delete(self, name: str) -> Answer:
        if self.jobs.pop(name, None) is None:
            return 404, status("NotFound", "not found", 404)
        self.end(name)
        return 200, {"kind": "Status", "status": "Success"}

    def end(self, name: str) -> None:
        for node in self.nodes.pop(name, []):
            node.terminate()
            node.wait()

    def pods(self, selector: str) -> Answer:
        name = selector.partition("=")[2]
        logs = sorted((self.folder / name).glob("*.termination"))
        words = [path.read_text() for path in logs] if self.executes else self.words
        return 200, {"kind": "PodList", "apiVersion": "v1", "items": [_pod(i, text) for i, text in enumerate(words)]}

    def _of_nodes(self, name: str) -> str:
        codes = [node.poll() for node in self.nodes[name]]
        if any(codes):
            for node in self.nodes[name]:
                node.terminate()
            return "Failed"
        return "Complete" if codes == [0] * len(codes) else "started"


def _start_nodes(job: Manifest, folder: Path) -> list[subprocess.Popen[bytes]]:
    folder.mkdir(exist_ok=True)
    trainer = job["spec"]["trainer"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    rendezvous = {"PET_NNODES": trainer["numNodes"], "PET_NPROC_PER_NODE": trainer["numProcPerNode"]}
    rendezvous |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port}
    variables = {variable["name"]: variable["value"] for variable in trainer["env"]}
    command = [sys.executable, *trainer["command"][1:], *trainer["args"]]
    nodes = []
    for rank in range(trainer["numNodes"]):
        own = {"PET_NODE_RANK": rank, "RFT_FAILURE_FILE": folder / f"{rank}.termination"}
        environment = os.environ | {key: str(value) for key, value in (variables | rendezvous | own).items()}
        with (folder / f"{rank}.log").open("w") as log:
            nodes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    return nodes


def _job_status(state: str) -> Manifest:
    if state == "started":
        return {
            "jobsStatus": [
                dict.fromkeys(("ready", "succeeded", "failed", "suspended"), 0) | {"name": "node", "active": 1}
            ]
        }
    reasons = {"Complete": "AllJobsCompleted", "Failed": "FailedJobs", "Suspended": "Suspended"}
    messages = {"Failed": "jobset failed due to one or more job failures"}
    condition = {"type": state, "status": "True", "reason": reasons[state], "message": messages.get(state, "")}
    return {"conditions": [condition | {"lastTransitionTime": "2026-11-22T00:00:00Z"}]}


def _pod(number: int, words: str) -> Manifest:
    ended = {"terminated": {"exitCode": 1, "message": words}}
    container = {"name": "node", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": ended}
    return {"metadata": {"name": f"pod-{number}"}, "status": {"containerStatuses": [container]}}


def status(reason: str, message: str, code: int, details: Mapping[str, str] | None = None) -> Manifest:
    """A Kubernetes Status."""
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return head | {"message": message, "reason": reason} | ({"details": details} if details else {}) | {"code": code}


def denied(reason: str) -> Manifest:
    """What the API server answers (403) if a webhook denies an object."""
    return status("Forbidden", f'admission webhook "{WEBHOOK}" denied the request: {reason}', 403)


def forbidden(
    verb: str, account: str = "system:serviceaccount:kubeflow:rft-evaluator", namespace: str = "kubeflow"
) -> Manifest:
    """What the API server answers (403) if the account has no right."""
    message = (
        f'trainjobs.trainer.kubeflow.org is forbidden: User "{account}" cannot {verb} resource "trainjobs" '
        f'in API group "trainer.kubeflow.org" in the namespace "{namespace}"'
    )
    return status("Forbidden", message, 403, {"group": "trainer.kubeflow.org", "kind": "trainjobs"})


def _handler(server: KubernetesServer) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer("GET")

        def do_POST(self) -> None:
            self._answer("POST")

        def do_DELETE(self) -> None:
            self._answer("DELETE")

        def _answer(self, method: str) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            path, _, query = self.path.partition("?")
            if server.lost > 0:
                server.lost -= 1
                self.close_connection = True
                return
            code, answer = self._routed(method, path, query, body)
            text = json.dumps(answer).encode()
            self.send_response(code)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _routed(self, method: str, path: str, query: str, body: bytes) -> Answer:
            if self.headers.get("Authorization") != "Bearer secret":
                return 401, status("Unauthorized", "Unauthorized", 401)
            if server.answers:
                code, answer = server.answers.pop(0)
                return code, answer if isinstance(answer, dict) else status("", answer, code)
            if PODS.match(path):
                return server.pods(query.partition("labelSelector=")[2].replace("%3D", "=").replace("%2F", "/"))
            match = TRAINJOBS.match(path)
            assert match is not None, f"no route {method} {path}"
            namespace, name = match.groups()
            server.requests.append((method, name))
            if method == "POST":
                return server.create(namespace, json.loads(body))
            return server.look(name) if method == "GET" else server.delete(name)

        def log_message(self, *_: object) -> None:
            return

    return Handler
