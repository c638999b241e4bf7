"""pipelineJobs and schedules of Vertex AI over REST, as Google's generated clients see them; jobs are executed.

Written after the API's reference; nothing of it is recorded from the real service. In particular, the message of a
failed task's error, and how its attempts are listed, are not known.
"""

import re
import uuid
from collections.abc import Mapping, Sequence
from itertools import count

from servers.execution import Execute, Job, in_background
from servers.rest import JsonObject, Query, RestError, RestServer, now

_PARENT = r"/v1/(projects/[^/]+/locations/[^/]+)"
_STATUS = {400: "INVALID_ARGUMENT", 401: "UNAUTHENTICATED", 403: "PERMISSION_DENIED", 404: "NOT_FOUND"}
_DONE = {"done": True, "response": {"@type": "type.googleapis.com/google.protobuf.Empty"}}

_ROUTES = {
    ("GET", f"{_PARENT}/pipelineJobs"): "list_jobs",
    ("POST", f"{_PARENT}/pipelineJobs"): "create_job",
    ("GET", f"{_PARENT}/pipelineJobs/([^/:]+)"): "get_job",
    ("POST", f"{_PARENT}/pipelineJobs/([^/:]+):cancel"): "cancel_job",
    ("GET", f"{_PARENT}/schedules"): "list_schedules",
    ("POST", f"{_PARENT}/schedules"): "create_schedule",
    ("POST", f"{_PARENT}/schedules/([^/:]+):(pause|resume)"): "switch_schedule",
    ("DELETE", f"{_PARENT}/schedules/([^/:]+)"): "delete_schedule",
}


class VertexServer(RestServer):
    """Holds everything in memory; `execute` runs a Job and returns its error, or an empty text."""

    def __init__(self, execute: Execute) -> None:
        super().__init__(_ROUTES)
        self._execute = execute
        self.jobs: dict[str, JsonObject] = {}
        self.schedules: dict[str, JsonObject] = {}
        self._ids = count(1)

    def error(self, status: int, message: str) -> JsonObject:
        return {"error": {"code": status, "message": message, "status": _STATUS.get(status, "UNKNOWN")}}

    def list_jobs(self, parent: str, *, query: Query, body: object) -> JsonObject:
        match = re.fullmatch(r'labels\.(\w+)="([^"]*)"', query["filter"])
        if match is None:
            raise RestError(400, f"filter {query['filter']!r} is invalid")
        label, value = match.groups()
        jobs = [job for name, job in self.jobs.items() if name.startswith(parent) and job["labels"].get(label) == value]
        first, size = int(query.get("pageToken") or 0), int(query.get("pageSize") or 100)
        fields = query["readMask"].split(",")
        page = [{field: job[field] for field in fields if field in job} for job in jobs[::-1][first : first + size]]
        return {"pipelineJobs": page} | ({"nextPageToken": str(first + size)} if first + size < len(jobs) else {})

    def create_job(self, parent: str, *, query: Query, body: JsonObject) -> JsonObject:
        identity = query.get("pipelineJobId") or f"job-{uuid.uuid4()}"
        name = f"{parent}/pipelineJobs/{identity}"
        if not re.fullmatch(r"[a-z][-a-z0-9]{0,127}", identity):
            raise RestError(400, f"pipeline_job_id {identity!r} is invalid")
        if name in self.jobs:
            raise RestError(409, f"Resource {name} already exists")
        _check(body)
        job = self.jobs[name] = dict(body, name=name, state="PIPELINE_STATE_RUNNING", createTime=now())
        parameters = job["runtimeConfig"]["parameterValues"]
        in_background(
            self._execute, Job(identity, job["pipelineSpec"], None, parameters), lambda error: self._end(job, error)
        )
        return job

    def get_job(self, parent: str, identity: str, *, query: Query, body: object) -> JsonObject:
        return _resource(self.jobs, f"{parent}/pipelineJobs/{identity}")

    def cancel_job(self, parent: str, identity: str, *, query: Query, body: object) -> JsonObject:
        job = _resource(self.jobs, f"{parent}/pipelineJobs/{identity}")
        if job["state"] != "PIPELINE_STATE_RUNNING":
            raise RestError(400, f"{job['name']} is not running")
        job["state"] = "PIPELINE_STATE_CANCELLED"
        return {}

    def create_schedule(self, parent: str, *, query: Query, body: JsonObject) -> JsonObject:
        if not re.fullmatch(r"(TZ=\S+ )?\S+ \S+ \S+ \S+ \S+", body["cron"]):
            raise RestError(400, f"cron {body['cron']!r} is invalid")
        _check(body["createPipelineJobRequest"]["pipelineJob"])
        name = f"{parent}/schedules/{next(self._ids)}"
        first = {"state": "ACTIVE", "createTime": now(), "nextRunTime": "2030-01-07T02:00:00Z"}
        self.schedules[name] = dict(body, name=name, **first)
        return self.schedules[name]

    def list_schedules(self, parent: str, *, query: Query, body: object) -> JsonObject:
        return {"schedules": [schedule for name, schedule in self.schedules.items() if name.startswith(parent)]}

    def switch_schedule(
        self, parent: str, identity: str, action: str, *, query: Query, body: JsonObject | None
    ) -> JsonObject:
        schedule = _resource(self.schedules, f"{parent}/schedules/{identity}")
        schedule |= {"state": "PAUSED" if action == "pause" else "ACTIVE", **(body or {})}
        return {}

    def delete_schedule(self, parent: str, identity: str, *, query: Query, body: object) -> JsonObject:
        name = f"{parent}/schedules/{identity}"
        _resource(self.schedules, name)
        del self.schedules[name]
        return {"name": f"{parent}/operations/1", **_DONE}

    def come_due(self, display_name: str) -> None:
        """What the service does when a time of the cron has come."""
        for schedule in self.schedules.values():
            if schedule["displayName"] == display_name and schedule["state"] == "ACTIVE":
                request = schedule["createPipelineJobRequest"]
                job = self.create_job(request["parent"], query={}, body=request["pipelineJob"])
                schedule["lastScheduledRunResponse"] = {"scheduledRunTime": now(), "runResponse": job["name"]}

    def show_tasks(
        self, name: str, tasks: Mapping[str, Sequence[str]], logs: Mapping[tuple[str, int], str] | None = None
    ) -> None:
        """What a job reports of its tasks: name -> states of its attempts; and (name, attempt) -> the error."""
        errors = logs or {}
        for job in self.jobs.values():
            if job["name"].endswith(f"/{name}"):
                job["jobDetail"] = {"taskDetails": [_task(task, states, errors) for task, states in tasks.items()]}

    def cancel(self, identity: str) -> None:
        """As by the button in the console."""
        with self.lock:
            for name, job in self.jobs.items():
                if name.endswith(f"/{identity}"):
                    job["state"] = "PIPELINE_STATE_CANCELLED"

    def _end(self, job: JsonObject, error: str) -> None:
        with self.lock:
            if job["state"] == "PIPELINE_STATE_RUNNING":
                job |= {"state": f"PIPELINE_STATE_{'FAILED' if error else 'SUCCEEDED'}", "endTime": now()}
                job |= {"error": {"code": 9, "message": error}} if error else {}


def _resource(resources: Mapping[str, JsonObject], name: str) -> JsonObject:
    if name not in resources:
        raise RestError(404, f"Resource {name} is not found")
    return resources[name]


def _task(name: str, states: Sequence[str], errors: Mapping[tuple[str, int], str]) -> JsonObject:
    def failure(attempt: int) -> JsonObject:
        return {"code": 9, "message": errors.get((name, attempt), "")}

    failed = [number for number, state in enumerate(states) if state == "FAILED"]
    status = [{"updateTime": now(), "state": "FAILED", "error": failure(number)} for number in failed]
    error = {"error": failure(len(states) - 1)} if states[-1] == "FAILED" else {}
    return {"taskName": name, "state": states[-1], "startTime": now(), "pipelineTaskStatus": status} | error


def _check(job: JsonObject) -> None:
    """What the service refuses of a job."""
    if not job["runtimeConfig"]["gcsOutputDirectory"].startswith("gs://"):
        raise RestError(400, "gcs_output_directory must be a gs:// folder")
    if any(not re.fullmatch(r"[a-z0-9_-]{1,63}", text) for pair in job["labels"].items() for text in pair):
        raise RestError(400, f"labels {job['labels']} are invalid")
    unknown = (
        job["runtimeConfig"]["parameterValues"].keys()
        - job["pipelineSpec"]["root"]["inputDefinitions"]["parameters"].keys()
    )
    if unknown:
        raise RestError(400, f"the pipeline has no parameters {sorted(unknown)}")
