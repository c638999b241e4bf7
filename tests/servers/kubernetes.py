"""A Kubernetes API on loopback with TrainJobs and pods, as far as a launcher needs it.

A job lives as the test says (`life`), or its program really runs: a process tree for each node, told of the others as
Kubeflow Trainer tells them, on 127.0.0.1.
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
        self.answers = []  # (status, message): instead of doing what is asked
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
            return 409, _status("AlreadyExists", f'trainjobs.trainer.kubeflow.org "{name}" already exists')
        if wrong := refusal(job):
            return 422, _status("Invalid", f'TrainJob.trainer.kubeflow.org "{name}" is invalid: {wrong}')
        job["metadata"] |= {"namespace": namespace, "uid": f"uid-{len(self.requests)}"}
        job["looks"] = 0
        self.jobs[name] = job
        if self.executes:
            self.nodes[name] = _start_nodes(job, self.folder / name)
        return 201, job

    def look(self, name):
        """The job as it is now."""
        if name not in self.jobs:
            return 404, _status("NotFound", f'trainjobs.trainer.kubeflow.org "{name}" not found')
        job = self.jobs[name]
        state = self._of_nodes(name) if name in self.nodes else self.life[min(job["looks"], len(self.life) - 1)]
        job["looks"] += 1
        return 200, {key: value for key, value in job.items() if key != "looks"} | {"status": _job_status(state)}

    def delete(self, name):
        if self.jobs.pop(name, None) is None:
            return 404, _status("NotFound", "not found")
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


def refusal(job):
    """Why the API would not take it: unknown or wrong fields by Trainer's published types, and the CRD's own rules."""
    from kubeflow_trainer_api.models import TrainerV1alpha1TrainJob
    from pydantic import ValidationError

    try:
        known = TrainerV1alpha1TrainJob.from_dict(job).to_dict()
    except ValidationError as error:
        return str(error)
    if known != job:
        return "unknown field"
    name, trainer = job["metadata"]["name"], job["spec"]["trainer"]
    if not re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name) or len(name) > 63:
        return "metadata.name must match RFC 1035 DNS label format"
    reserved = {e["name"] for e in trainer["env"]} & {"PET_NNODES", "PET_NPROC_PER_NODE", "PET_NODE_RANK"}
    too_many = [field for field in ("args", "command", "env") if len(trainer[field]) > 128]
    return f"{too_many} must have at most 128 items" if too_many else f"reserved {reserved}" if reserved else ""


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


def _status(reason, message):
    return {"kind": "Status", "status": "Failure", "reason": reason, "message": message}


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
            status, answer = self._routed(method, path, query, body)
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def _routed(self, method, path, query, body):
            if self.headers.get("Authorization") != "Bearer secret":
                return 401, _status("Unauthorized", "Unauthorized")
            if server.answers:
                status, message = server.answers.pop(0)
                return status, _status("", message)
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
