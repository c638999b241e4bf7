"""Vertex AI Pipelines, through the generated clients of google-cloud-aiplatform.

Its `PipelineJob` is not used: on every submission that looks up the bucket and the project's number by other services,
and it would ask the user for rights that are not needed.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any

import yaml

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.remote.clients.protocol import (
    Attempt,
    Package,
    RemoteRun,
    RemoteTask,
    Schedule,
    State,
    run_number,
)
from reward_finetuning.pipelines.remote.clients.vertex_access import (
    client_options,
    default_credentials,
    services,
    translated,
)
from reward_finetuning.pipelines.remote.cron import Cron, from_vertex, parse_timezone
from reward_finetuning.pipelines.targets.services import VertexService
from reward_finetuning.server_errors import one_line

_STATES = {
    "PIPELINE_STATE_QUEUED": State.PENDING,
    "PIPELINE_STATE_PENDING": State.PENDING,
    "PIPELINE_STATE_SUCCEEDED": State.SUCCEEDED,
    "PIPELINE_STATE_FAILED": State.FAILED,
    "PIPELINE_STATE_CANCELLED": State.CANCELED,
}
_TASK_STATES = {
    "PENDING": State.PENDING,
    "SUCCEEDED": State.SUCCEEDED,
    "SKIPPED": State.SUCCEEDED,
    "NOT_TRIGGERED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "CANCELLED": State.CANCELED,
}
_RUN_LABEL, _SCHEDULE_LABEL = "rft_run", "rft_schedule"
_CONSOLE = "https://console.cloud.google.com/vertex-ai"
_PAGE = 20
_TIMEOUT_SECONDS = 60.0


class VertexClient:
    """Client of Vertex AI Pipelines in one project and region."""

    def __init__(self, service: VertexService) -> None:
        if not service.project:
            raise UserError("which Google Cloud project? Give --project, or vertex.project in the cluster file")
        if not service.pipeline_root:
            raise UserError(
                "Vertex keeps artifacts in a bucket: give --pipeline-root gs://..., or vertex.pipeline_root"
            )
        self._service = service
        self._parent = f"projects/{service.project}/locations/{service.location}"
        self._types, pipelines, schedules = services()
        with translated(service):
            access = {"credentials": default_credentials(), "client_options": client_options(service)}
            self._pipelines = pipelines(transport="rest", **access)
            self._schedules = schedules(transport="rest", **access)

    def runs(self, prefix: str) -> list[RemoteRun]:
        """See Client."""
        chosen = f'labels.{_RUN_LABEL}="{_label(prefix)}"'
        request = {
            "parent": self._parent,
            "filter": chosen,
            "order_by": "create_time desc",
            "page_size": _PAGE,
            "read_mask": {"paths": ["name", "state"]},  # not the packages
        }
        with translated(self._service):
            jobs = self._pipelines.list_pipeline_jobs(request, timeout=_TIMEOUT_SECONDS)
            newest = [self._run(job) for job in islice(jobs, _PAGE)]
        ours = [run for run in newest if run_number(run.name, prefix) is not None]
        return sorted(ours, key=lambda run: run_number(run.name, prefix) or 0, reverse=True)

    def run(self, run_id: str) -> RemoteRun:
        """See Client."""
        with translated(self._service):
            return self._run(self._pipelines.get_pipeline_job(name=run_id, timeout=_TIMEOUT_SECONDS))

    def log(self, run_id: str, attempt: Attempt) -> list[str]:
        """See Client; logs are in Cloud Logging, which needs other rights: the page of the run leads there."""
        return []

    def terminate(self, run_id: str) -> None:
        """See Client; a job that has ended is answered with FAILED_PRECONDITION."""
        from google.api_core.exceptions import FailedPrecondition

        with translated(self._service), suppress(FailedPrecondition):
            self._pipelines.cancel_pipeline_job(name=run_id, timeout=_TIMEOUT_SECONDS)

    def submit(self, package: Package, name: str) -> RemoteRun:
        """See Client: the name is the job's id, which Vertex gives to one job only."""
        from google.api_core.exceptions import AlreadyExists

        labels = {_RUN_LABEL: _label(name.rstrip("0123456789"))}
        with translated(self._service):
            try:
                job = self._pipelines.create_pipeline_job(
                    parent=self._parent,
                    pipeline_job=self._job(package, name, labels),
                    pipeline_job_id=name,
                    timeout=_TIMEOUT_SECONDS,
                )
            except AlreadyExists:
                return self.run(f"{self._parent}/pipelineJobs/{name}")
        return self._run(job)

    def schedules(self) -> list[Schedule]:
        """See Client: those whose jobs carry our label."""
        with translated(self._service):
            every = list(self._schedules.list_schedules(parent=self._parent, timeout=_TIMEOUT_SECONDS))
        ours = [one for one in every if _SCHEDULE_LABEL in one.create_pipeline_job_request.pipeline_job.labels]
        return sorted((self._schedule(one) for one in ours), key=lambda schedule: schedule.name)

    def create_schedule(
        self, package: Package, name: str, cron: Cron, timezone: str | None, *, active: bool = True
    ) -> Schedule:
        """See Client; Vertex makes no paused schedules, so one that is not to be active is paused at once."""
        job = self._job(package, name, {_SCHEDULE_LABEL: _label(name)})
        schedule = self._types.Schedule(
            display_name=name,
            cron=cron.for_vertex(timezone or "UTC"),
            create_pipeline_job_request={"parent": self._parent, "pipeline_job": job},
            max_concurrent_run_count=1,  # this limits how many are being started
            max_concurrent_active_run_count=1,  # and this how many are running
            allow_queueing=False,
        )
        with translated(self._service):
            made = self._schedules.create_schedule(parent=self._parent, schedule=schedule, timeout=_TIMEOUT_SECONDS)
        created = self._schedule(made)
        if active:
            return created
        self.pause(created)
        return replace(created, active=False, next_run=None)

    def pause(self, schedule: Schedule) -> None:
        """See Client."""
        with translated(self._service):
            self._schedules.pause_schedule(name=schedule.id, timeout=_TIMEOUT_SECONDS)

    def resume(self, schedule: Schedule) -> None:
        """See Client."""
        with translated(self._service):
            request = {"name": schedule.id, "catch_up": False}
            self._schedules.resume_schedule(request, timeout=_TIMEOUT_SECONDS)

    def delete(self, schedule: Schedule) -> None:
        """See Client."""
        with translated(self._service):
            self._schedules.delete_schedule(name=schedule.id, timeout=_TIMEOUT_SECONDS).result(_TIMEOUT_SECONDS)

    def _job(self, package: Package, name: str, labels: dict[str, str]) -> Any:
        return self._types.PipelineJob(
            display_name=name,
            pipeline_spec=yaml.safe_load(package.path.read_text(encoding="utf-8")),
            labels=labels,
            runtime_config={
                "gcs_output_directory": self._service.pipeline_root,
                "parameter_values": dict(package.parameters),
            },
            service_account=self._service.service_account or "",
        )

    def _run(self, job: Any) -> RemoteRun:
        name = job.name.rpartition("/")[2]
        state = _STATES.get(job.state.name, State.RUNNING)
        tasks = sorted(job.job_detail.task_details, key=_start)
        url, error = self._page("runs", name), one_line(job.error.message)
        return RemoteRun(job.name, name, state, url, error, tuple(_task(detail) for detail in tasks))

    def _schedule(self, made: Any) -> Schedule:
        cron, timezone = from_vertex(made.cron)
        active = made.state == self._types.Schedule.State.ACTIVE
        return Schedule(
            id=made.name,
            name=made.display_name,
            cron=cron,
            timezone=timezone,
            active=active,
            url=self._page("schedules", made.name.rpartition("/")[2]),
            next_run=_moment(made.next_run_time, timezone) if active else None,
            last_run=_moment(made.last_scheduled_run_response.scheduled_run_time, timezone),
        )

    def _page(self, kind: str, name: str) -> str:
        service = self._service
        return f"{_CONSOLE}/locations/{service.location}/pipelines/{kind}/{name}?project={service.project}"


def _start(detail: Any) -> float:
    return float(detail.start_time.timestamp()) if detail.start_time else float("inf")


def _task(detail: Any) -> RemoteTask:
    """A task and its attempts: Vertex lists those that failed in `pipeline_task_status`."""
    state = _TASK_STATES.get(detail.state.name, State.RUNNING)
    history = [each for each in detail.pipeline_task_status if each.state.name == "FAILED"]
    earlier = [Attempt(State.FAILED, "", one_line(each.error.message)) for each in history]
    newest = Attempt(state, "", one_line(detail.error.message))
    attempts = earlier if earlier and state is State.FAILED else [*earlier, newest]
    return RemoteTask(detail.task_name, state, tuple(attempts))


def _label(text: str) -> str:
    """As Google wants labels: lower case, at most 63 characters; the end tells runs apart."""
    return re.sub(r"[^a-z0-9_-]", "-", text.lower())[-63:].strip("-")


def _moment(time: datetime | None, timezone: str) -> datetime | None:
    return None if not time else time.astimezone(parse_timezone(timezone))
