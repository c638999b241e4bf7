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
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import yaml
from servers.trainjob_rules import WEBHOOK, refusal_of_schema, refusal_of_webhook

TRAINJOBS = re.compile(r"/apis/trainer\.kubeflow\.org/v1alpha1/namespaces/([^/]+)/trainjobs(?:/([^/]+))?$")
PODS = re.compile(r"/api/v1/namespaces/([^/]+)/pods$")


class KubernetesServer:
    """`with KubernetesServer(folder) as server`: KUBECONFIG for it is `server.kubeconfig`."""

    def __init__(self, folder, executes=False):
        self.folder, self.executes = Path(folder), executes
        self.jobs, self.nodes = {}, {}
        self.life = ["Complete"]  # states at one look after the other; the last one stays
        self.words = []  # what pods left in their termination logs
        self.lost = 0  # requests whose connection breaks without an answer
        self.answers = []  # (status code, message or whole answer): sent instead of an answer to the request
        self.requests = []  # (method, name of the job)
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.kubeconfig = self.folder / "kubeconfig"

    def __enter__(self):
        threading.Thread(target=self._http.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{self._http.server_port}"
        context = {"cluster": "loopback", "user": "tester", "namespace": "team"}
        config = {
            "current-context": "here",
            "contexts": [{"name": "here", "context": context}],
            "clusters": [{"name": "loopback", "cluster": {"server": url}}],
            "users": [{"name": "tester", "user": {"token": "secret"}}],
        }
        self.kubeconfig.write_text(yaml.safe_dump(config))
        return self

    def __exit__(self, *_):
        self._http.shutdown()
        self._http.server_close()
        for name in list(self.nodes):
            self.end(name)

    def made(self):
        """How many jobs were created."""
        return sum(method == "POST" for method, _ in self.requests)

    def create(self, namespace, job):
        name = job["metadata"]["name"]
        if name in self.jobs:
            return 409, status("AlreadyExists", f'trainjobs.trainer.kubeflow.org "{name}" already exists', 409)
        if wrong := refusal_of_schema(job):
            return 422, status("Invalid", f'TrainJob.trainer.kubeflow.org "{name}" is invalid: {wrong}', 422)
        if wrong := refusal_of_webhook(job):
            return 403, denied(wrong)
        job["metadata"] |= {"namespace": namespace, "uid": f"uid-{len(self.requests)}"}
        job["looks"] = 0
        self.jobs[name] = job
        if self.executes:
            self.nodes[name] = _start_nodes(job, self.folder / name)
        return 201, job

    def look(self, name):
        """The job as it is now."""
        if name not in self.jobs:
            return 404, status("NotFound", f'trainjobs.trainer.kubeflow.org "{name}" not found', 404)
        job = self.jobs[name]
        state = self._of_nodes(name) if name in self.nodes else self.life[min(job["looks"], len(self.life) - 1)]
        job["looks"] += 1
        return 200, {key: value for key, value in job.items() if key != "looks"} | {"status": _job_status(state)}

    def delete(self, name):
        if self.jobs.pop(name, None) is None:
            return 404, status("NotFound", "not found", 404)
        self.end(name)
        return 200, {"kind": "Status", "status": "Success"}

    def end(self, name):
        for node in self.nodes.pop(name, []):
            node.terminate()
            node.wait()

    def pods(self, selector):
        name = selector.partition("=")[2]
        logs = sorted((self.folder / name).glob("*.termination"))
        words = [path.read_text() for path in logs] if self.executes else self.words
        return 200, {"kind": "PodList", "apiVersion": "v1", "items": [_pod(i, text) for i, text in enumerate(words)]}

    def _of_nodes(self, name):
        codes = [node.poll() for node in self.nodes[name]]
        if any(codes):
            for node in self.nodes[name]:
                node.terminate()
            return "Failed"
        return "Complete" if codes == [0] * len(codes) else "started"


def _start_nodes(job, folder):
    folder.mkdir(exist_ok=True)
    trainer = job["spec"]["trainer"]
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"PET_NNODES": trainer["numNodes"], "PET_NPROC_PER_NODE": trainer["numProcPerNode"]}
    told |= {"PET_MASTER_ADDR": "127.0.0.1", "PET_MASTER_PORT": port}
    given = {e["name"]: e["value"] for e in trainer["env"]}
    command = [sys.executable, *trainer["command"][1:], *trainer["args"]]
    nodes = []
    for rank in range(trainer["numNodes"]):
        own = {"PET_NODE_RANK": rank, "RFT_FAILURE_FILE": folder / f"{rank}.termination"}
        environment = os.environ | {key: str(value) for key, value in (given | told | own).items()}
        with (folder / f"{rank}.log").open("w") as log:
            nodes.append(subprocess.Popen(command, env=environment, stdout=log, stderr=log))
    return nodes


def _job_status(state):
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


def _pod(number, words):
    ended = {"terminated": {"exitCode": 1, "message": words}}
    container = {"name": "node", "image": "i", "imageID": "", "ready": False, "restartCount": 0, "state": ended}
    return {"metadata": {"name": f"pod-{number}"}, "status": {"containerStatuses": [container]}}


def status(reason, message, code, details=None):
    """A Kubernetes Status."""
    head = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure"}
    return head | {"message": message, "reason": reason} | ({"details": details} if details else {}) | {"code": code}


def denied(reason):
    """What the API server answers (403) if a webhook denies an object."""
    return status("Forbidden", f'admission webhook "{WEBHOOK}" denied the request: {reason}', 403)


def forbidden(verb, account="system:serviceaccount:kubeflow:rft-evaluator", namespace="kubeflow"):
    """What the API server answers (403) if the account has no right."""
    message = (
        f'trainjobs.trainer.kubeflow.org is forbidden: User "{account}" cannot {verb} resource "trainjobs" '
        f'in API group "trainer.kubeflow.org" in the namespace "{namespace}"'
    )
    return status("Forbidden", message, 403, {"group": "trainer.kubeflow.org", "kind": "trainjobs"})


def _handler(server):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self._answer("GET")

        def do_POST(self):
            self._answer("POST")

        def do_DELETE(self):
            self._answer("DELETE")

        def _answer(self, method):
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

        def _routed(self, method, path, query, body):
            if self.headers.get("Authorization") != "Bearer secret":
                return 401, status("Unauthorized", "Unauthorized", 401)
            if server.answers:
                code, answer = server.answers.pop(0)
                return code, answer if isinstance(answer, dict) else status("", answer, code)
            if PODS.match(path):
                return server.pods(query.partition("labelSelector=")[2].replace("%3D", "=").replace("%2F", "/"))
            namespace, name = TRAINJOBS.match(path).groups()
            server.requests.append((method, name))
            if method == "POST":
                return server.create(namespace, json.loads(body))
            return server.look(name) if method == "GET" else server.delete(name)

        def log_message(self, *_):
            return

    return Handler
