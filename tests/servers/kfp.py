"""The API v2beta1 of Kubeflow Pipelines as its real client sees it, for one user; runs are executed.

Rules that a client can break are those of backend/src/apiserver of kubeflow/pipelines 2.17: sizes, filters, cron of six
fields, unique names of pipelines and versions, unknown ids.

Recorded from a real installation: a failed run has no `error`; a terminated one ends as FAILED with CANCELING in its
`state_history`; terminating a run that has ended is status 400; tasks are nodes of Argo (argo.py); the log of an
unknown node is status 200 with an `error_message`. Not recorded, and so not imitated: the state of a run between
CANCELING and its end, the log of a pod that is still running, and what a multi-user installation answers to these
requests.
"""

import email.parser
import email.policy
import json
import uuid
from collections.abc import Mapping, Sequence

import yaml
from servers import argo
from servers.execution import Execute, Job, in_background
from servers.rest import JsonObject, Multipart, PlainText, Query, RestError, RestServer, now

_API = "/apis/v2beta1"
_FINAL = {"SUCCEEDED", "FAILED"}
_FILTERED = {
    "experiments": {"display_name"},
    "pipelines": {"display_name"},
    "runs": {"display_name", "recurring_run_id", "state"},
    "recurring_runs": {"display_name"},
}

_ROUTES = {
    ("GET", f"{_API}/healthz"): "health",
    ("GET", f"{_API}/experiments"): "list_experiments",
    ("POST", f"{_API}/experiments"): "create_experiment",
    ("GET", f"{_API}/runs"): "list_runs",
    ("POST", f"{_API}/runs"): "create_run",
    ("GET", f"{_API}/runs/([^/:]+)"): "get_run",
    ("GET", "/apis/v1alpha1/runs/([^/:]+)/nodes/([^/:]+)/log"): "read_log",
    ("POST", f"{_API}/runs/([^/:]+):terminate"): "terminate_run",
    ("GET", f"{_API}/recurringruns"): "list_recurring_runs",
    ("POST", f"{_API}/recurringruns"): "create_recurring_run",
    ("DELETE", f"{_API}/recurringruns/([^/:]+)"): "delete_recurring_run",
    ("POST", f"{_API}/recurringruns/([^/:]+):(enable|disable)"): "switch_recurring_run",
    ("GET", f"{_API}/pipelines"): "list_pipelines",
    ("POST", f"{_API}/pipelines/upload"): "upload_pipeline",
    ("POST", f"{_API}/pipelines/upload_version"): "upload_version",
    ("GET", f"{_API}/pipelines/([^/:]+)/versions"): "list_versions",
}


class KfpServer(RestServer):
    """Holds everything in memory; `execute` runs a Job and returns its error, or an empty text."""

    def __init__(self, execute: Execute) -> None:
        super().__init__(_ROUTES)
        self._execute = execute
        self.multi_user = False
        self.logs: dict[tuple[str, str], str] = {}  # (run id, node id): text
        self.experiments: dict[str, JsonObject] = {}
        self.runs: dict[str, JsonObject] = {}
        self.recurring_runs: dict[str, JsonObject] = {}
        self.pipelines: dict[str, JsonObject] = {}
        self.versions: dict[str, JsonObject] = {}

    def health(self, *, query: Query, body: object) -> JsonObject:
        return {"multi_user": self.multi_user, "pipeline_store": "database"}

    def create_experiment(self, *, query: Query, body: JsonObject) -> JsonObject:
        if self.multi_user and body.get("namespace") not in {"team"}:
            raise RestError(403, f"User is not authorized to create experiments in {body.get('namespace')!r}")
        return _add(self.experiments, "experiment_id", dict(body))

    def list_experiments(self, *, query: Query, body: object) -> JsonObject:
        return _page(self.experiments, "experiments", query)

    def create_run(self, *, query: Query, body: JsonObject) -> JsonObject:
        _check_parameters(body)
        if body["experiment_id"] not in self.experiments:
            raise RestError(404, f"Experiment {body['experiment_id']} not found")
        return self._start(dict(body))

    def list_runs(self, *, query: Query, body: object) -> JsonObject:
        return _page(self.runs, "runs", query)

    def get_run(self, run_id: str, *, query: Query, body: object) -> JsonObject:
        return _resource(self.runs, "Run", run_id)

    def terminate_run(self, run_id: str, *, query: Query, body: object) -> JsonObject:
        run = _resource(self.runs, "Run", run_id)
        if run["state"] in _FINAL:
            message = f"Failed to terminate a run {run_id}. Row not found"
            raise RestError(400, f"Failed to terminate a run: Failed to terminate run {run_id}: {message}")
        _enter(run, "CANCELING")
        _enter(run, "FAILED")
        return {}

    def read_log(self, run_id: str, node_id: str, *, query: Query, body: object) -> JsonObject | PlainText:
        text = self.logs.get((run_id, node_id))
        if text is None:
            message = f"BadRequestError: Failed to read logs for run {run_id}: NoSuchKey: {node_id}/main.log"
            return {"error_message": message, "error_details": message}
        return PlainText(text)

    def show_tasks(
        self, name: str, tasks: Mapping[str, Sequence[str]], logs: Mapping[tuple[str, int], str] | None = None
    ) -> None:
        """What a run reports of its tasks: name -> states of its attempts; and (name, attempt) -> the log."""
        (run,) = (run for run in self.runs.values() if run["display_name"] == name)
        with self.lock:
            workflow = f"{run['pipeline_name']}-x2x4x"
            run["run_details"] = {"task_details": argo.details(run["run_id"], workflow, tasks)}
            for (task, attempt), text in (logs or {}).items():
                self.logs[run["run_id"], argo.log_node(workflow, task, attempt)] = text

    def create_recurring_run(self, *, query: Query, body: JsonObject) -> JsonObject:
        _check_parameters(body)
        if len(body["trigger"]["cron_schedule"]["cron"].split()) != 6:
            raise RestError(400, "Schedule cron is not a supported format. Expected 5 to 6 fields, seconds first")
        if not 1 <= int(body["max_concurrency"]) <= 10:
            raise RestError(400, "Max concurrency of a recurring run must be at least 1 and at most 10")
        _resource(self.versions, "PipelineVersion", body["pipeline_version_reference"]["pipeline_version_id"])
        status = "ENABLED" if body["mode"] == "ENABLE" else "DISABLED"
        return _add(self.recurring_runs, "recurring_run_id", dict(body, status=status))

    def list_recurring_runs(self, *, query: Query, body: object) -> JsonObject:
        return _page(self.recurring_runs, "recurringRuns", query)

    def switch_recurring_run(self, recurring_run_id: str, action: str, *, query: Query, body: object) -> JsonObject:
        _resource(self.recurring_runs, "RecurringRun", recurring_run_id)["status"] = f"{action.upper()}D"
        return {}

    def delete_recurring_run(self, recurring_run_id: str, *, query: Query, body: object) -> JsonObject:
        _resource(self.recurring_runs, "RecurringRun", recurring_run_id)
        del self.recurring_runs[recurring_run_id]
        return {}

    def list_pipelines(self, *, query: Query, body: object) -> JsonObject:
        return _page(self.pipelines, "pipelines", query)

    def list_versions(self, pipeline_id: str, *, query: Query, body: object) -> JsonObject:
        versions = [version for version in self.versions.values() if version["pipeline_id"] == pipeline_id]
        return {"pipeline_versions": versions}

    def upload_pipeline(self, *, query: Query, body: Multipart) -> JsonObject:
        if any(pipeline["display_name"] == query["name"] for pipeline in self.pipelines.values()):
            raise RestError(409, f"Already exist error: the pipeline {query['name']} exists")
        pipeline = _add(self.pipelines, "pipeline_id", {"display_name": query["name"]})
        self._add_version(pipeline["pipeline_id"], query["name"], body)
        return pipeline

    def upload_version(self, *, query: Query, body: Multipart) -> JsonObject:
        _resource(self.pipelines, "Pipeline", query["pipelineid"])
        return self._add_version(query["pipelineid"], query["name"], body)

    def come_due(self, name: str) -> None:
        """What the controller of scheduled workflows does when a time of the cron has come."""
        for recurring in list(self.recurring_runs.values()):
            if recurring["display_name"] == name and recurring["status"] == "ENABLED":
                body = {key: recurring[key] for key in ("experiment_id", "runtime_config", "recurring_run_id")}
                reference = recurring["pipeline_version_reference"]["pipeline_version_id"]
                spec = self.versions[reference]["pipeline_spec"]
                self._start(dict(body, display_name=f"{name}-1", pipeline_spec=spec))

    def _add_version(self, pipeline_id: str, name: str, body: Multipart) -> JsonObject:
        siblings = self.list_versions(pipeline_id, query={}, body=None)["pipeline_versions"]
        if any(sibling["display_name"] == name for sibling in siblings):
            raise RestError(409, f"Already exist error: the version {name} exists")
        spec, *platform = yaml.safe_load_all(_file(body))
        whole = {"pipeline_spec": spec, "platform_spec": platform[0]} if platform else spec
        version = {"pipeline_id": pipeline_id, "display_name": name, "pipeline_spec": whole}
        return _add(self.versions, "pipeline_version_id", version)

    def _start(self, run: JsonObject) -> JsonObject:
        spec = run["pipeline_spec"]
        inner, platform = (spec["pipeline_spec"], spec["platform_spec"]) if "platform_spec" in spec else (spec, None)
        name = inner["pipelineInfo"]["name"]
        run = _add(self.runs, "run_id", dict(run, state="PENDING", state_history=[], pipeline_name=name))
        _enter(run, "RUNNING")
        parameters = run["runtime_config"].get("parameters", {})
        job = Job(run["display_name"], inner, platform, parameters, run["run_id"])
        in_background(self._execute, job, lambda error: self._end(run, error))
        return run

    def _end(self, run: JsonObject, error: str) -> None:
        with self.lock:
            if run["state"] == "RUNNING":
                if error and "run_details" not in run:
                    self.show_tasks(run["display_name"], {"run-epochs": ["FAILED"]}, {("run-epochs", 0): error})
                _enter(run, "FAILED" if error else "SUCCEEDED")
                run["finished_at"] = now()


def _enter(run: JsonObject, state: str) -> None:
    run["state"] = state
    run["state_history"] = [*run["state_history"], {"update_time": now(), "state": state}]


def _add(resources: dict[str, JsonObject], key: str, value: JsonObject) -> JsonObject:
    value |= {key: str(uuid.uuid4()), "created_at": now()}
    resources[value[key]] = value
    return value


def _resource(resources: Mapping[str, JsonObject], kind: str, identity: str) -> JsonObject:
    if identity not in resources:
        raise RestError(404, f"ResourceNotFoundError: {kind} {identity} not found")
    return resources[identity]


def _check_parameters(body: JsonObject) -> None:
    if len(json.dumps(body["runtime_config"].get("parameters", {}))) > 10_000:
        raise RestError(400, "The input parameter length exceed maximum size of 10000")


def _page(resources: Mapping[str, JsonObject], kind: str, query: Query) -> JsonObject:
    """One page of what the query asks for, as the backend filters, sorts and cuts."""
    matches = list(resources.values())
    if experiment := query.get("experiment_id"):
        matches = [resource for resource in matches if resource.get("experiment_id") == experiment]
    for predicate in json.loads(query.get("filter") or '{"predicates": []}')["predicates"]:
        key, value = predicate["key"], predicate["stringValue"]
        if key not in _FILTERED["recurring_runs" if kind == "recurringRuns" else kind]:
            raise RestError(400, f"no support for filtering on unrecognized field {key!r}")
        matches = [resource for resource in matches if _matches(resource.get(key, ""), predicate["operation"], value)]
    if query.get("sort_by", "").startswith("created_at"):
        matches.sort(key=lambda resource: resource["created_at"], reverse=query["sort_by"].endswith("desc"))
    first, size = int(query.get("page_token") or 0), int(query.get("page_size") or 10)
    more = {"next_page_token": str(first + size)} if first + size < len(matches) else {}
    return {kind: matches[first : first + size], "total_size": len(matches)} | more


def _matches(field: str, operation: int, value: str) -> bool:
    return {1: field == value, 9: value in field}[operation]


def _file(body: Multipart) -> bytes:
    message = email.parser.BytesParser(policy=email.policy.HTTP).parsebytes(
        f"Content-Type: {body.content_type}\r\n\r\n".encode() + body.data
    )
    data = next(message.iter_parts()).get_payload(decode=True)
    assert isinstance(data, bytes)
    return data
