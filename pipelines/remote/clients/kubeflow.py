"""Kubeflow Pipelines, through its own client."""

from __future__ import annotations

import json
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from itertools import islice
from typing import Any

from kfp import Client
from kfp_server_api import ApiException

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.remote.clients.kubeflow_access import credentials, host_of
from reward_finetuning.pipelines.remote.clients.kubeflow_errors import translated
from reward_finetuning.pipelines.remote.clients.kubeflow_tasks import tasks_of
from reward_finetuning.pipelines.remote.clients.protocol import (
    Attempt,
    Package,
    RemoteRun,
    RemoteTask,
    Schedule,
    State,
    run_number,
)
from reward_finetuning.pipelines.remote.cron import Cron, from_kfp, parse_cron, parse_timezone
from reward_finetuning.pipelines.targets.services import KfpService
from reward_finetuning.server_errors import one_line

_STATES = {
    "PENDING": State.PENDING,
    "SUCCEEDED": State.SUCCEEDED,
    "SKIPPED": State.SUCCEEDED,
    "FAILED": State.FAILED,
    "CANCELED": State.CANCELED,
}
_LOG_BYTES = 64 * 1024
_LOG_LINES = 20
"""Of the end of a log."""

_EQUALS, _IS_SUBSTRING = 1, 9  # backend/api/v2beta1/filter.proto
_PAGE = 20
"""Runs or schedules in one answer; a run comes with its whole package."""

_TIMEOUT_SECONDS = 60.0


class KubeflowClient:
    """Client of one Kubeflow Pipelines API and one experiment."""

    def __init__(self, service: KfpService) -> None:
        self._service = service
        self._host = host_of(service)
        with translated(service, self._host):
            self._client = _Client(host=self._host, namespace=service.namespace, **credentials(service))
            multi_user = self._client.get_kfp_healthz().multi_user
        self._namespace = service.namespace if multi_user else None

    def runs(self, prefix: str) -> list[RemoteRun]:
        """See Client."""
        predicate = {"operation": _IS_SUBSTRING, "key": "display_name", "stringValue": prefix}
        newest = islice(self._list("runs", predicate, sort_by="created_at desc"), _PAGE)
        ours = [self._run(run) for run in newest if run_number(run.display_name, prefix) is not None]
        return sorted(ours, key=lambda run: run_number(run.name, prefix) or 0, reverse=True)

    def run(self, run_id: str) -> RemoteRun:
        """See Client."""
        with translated(self._service, self._host):
            run = self._client.get_run(run_id)
        details = run.run_details.task_details if run.run_details else None
        return self._run(run, tasks_of(details or ()))

    def log(self, run_id: str, attempt: Attempt) -> list[str]:
        """See Client; read from the pod, or from the archive of Argo after the pod is gone."""
        with translated(self._service, self._host):
            text = self._client.end_of_log(run_id, attempt.log)
        # An unknown node is answered with status 200 and an object with `error_message`.
        return [] if text.startswith('{"error_message"') else text.splitlines()[-_LOG_LINES:]

    def terminate(self, run_id: str) -> None:
        """See Client; a run that has ended is answered with status 400 (`Row not found`)."""
        with translated(self._service, self._host):
            try:
                self._client.terminate_run(run_id)
            except ApiException as error:
                if error.status != 400 or not self.run(run_id).state.is_final:
                    raise

    def submit(self, package: Package, name: str) -> RemoteRun:
        """See Client; KFP has no unique names, so none is ever taken."""
        with translated(self._service, self._host):
            run = self._client.run_pipeline(
                self._experiment,
                name,
                str(package.path),
                params=dict(package.parameters),
                pipeline_root=self._service.pipeline_root,
                service_account=self._service.service_account,
            )
        return self._run(run)

    def schedules(self) -> list[Schedule]:
        """See Client: the recurring runs of the experiment."""
        every = [self._schedule(each) for each in self._list("recurring_runs", None, sort_by="created_at")]
        return sorted(every, key=lambda schedule: schedule.name)

    def create_schedule(
        self, package: Package, name: str, cron: Cron, timezone: str | None, *, active: bool = True
    ) -> Schedule:
        """See Client; refers to a version of an uploaded pipeline, for a recurring run would carry the whole package.

        Raises:
            UserError: another time zone than that of the installation, which a recurring run cannot have.
        """
        own = self._service.timezone
        if timezone not in {None, own}:
            raise UserError(
                f"Kubeflow Pipelines reads cron in the time zone of its installation, {own}, not in {timezone}: write "
                f"the cron for {own}, or set CRON_SCHEDULE_TIMEZONE of its ml-pipeline-scheduledworkflow to {timezone} "
                f"and kfp.timezone of the cluster file with it"
            )
        with translated(self._service, self._host):
            pipeline_id, version_id = self._upload(package, name)
            created = self._client.create_recurring_run(
                self._experiment,
                name,
                cron_expression=cron.for_kfp(),
                max_concurrency=1,
                no_catchup=True,
                params=dict(package.parameters),
                pipeline_id=pipeline_id,
                version_id=version_id,
                enabled=active,
                pipeline_root=self._service.pipeline_root,
                service_account=self._service.service_account,
            )
        return self._schedule(created)

    def pause(self, schedule: Schedule) -> None:
        """See Client."""
        with translated(self._service, self._host):
            self._client.disable_recurring_run(schedule.id)

    def resume(self, schedule: Schedule) -> None:
        """See Client."""
        with translated(self._service, self._host):
            self._client.enable_recurring_run(schedule.id)

    def delete(self, schedule: Schedule) -> None:
        """See Client; the uploaded versions stay for the runs that were made of them."""
        with translated(self._service, self._host):
            self._client.delete_recurring_run(schedule.id)

    @cached_property
    def _experiment(self) -> str:
        """Id of the experiment, made where it is missing."""
        with translated(self._service, self._host):
            experiment = self._client.create_experiment(self._service.experiment, namespace=self._namespace)
        if not experiment.experiment_id:
            raise UserError(
                f"{self._host} answers, but not as Kubeflow Pipelines does (a login page?): give the URL of its API, "
                f"and a token in ${self._service.token_variable}"
            )
        return str(experiment.experiment_id)

    def _list(
        self, kind: str, predicate: dict[str, Any] | None, *, sort_by: str, page_size: int = _PAGE
    ) -> Iterator[Any]:
        """Everything of that kind in the experiment, a page at a time."""
        call, token = getattr(self._client, f"list_{kind}"), ""
        chosen = None if predicate is None else json.dumps({"predicates": [predicate]})
        while True:
            with translated(self._service, self._host):
                page = call(token, page_size, sort_by, experiment_id=self._experiment, filter=chosen)
            yield from getattr(page, kind) or []
            if not (token := page.next_page_token or ""):
                return

    def _upload(self, package: Package, name: str) -> tuple[str, str]:
        """Ids of a pipeline of that name and of a new version of it."""
        predicate = {"operation": _EQUALS, "key": "display_name", "stringValue": name}
        chosen = json.dumps({"predicates": [predicate]})
        known = self._client.list_pipelines(filter=chosen, namespace=self._namespace).pipelines
        if not known:
            made = self._client.upload_pipeline(str(package.path), name, namespace=self._namespace)
            (version,) = self._client.list_pipeline_versions(made.pipeline_id).pipeline_versions
        else:
            now = f"{datetime.now(UTC):%Y%m%d-%H%M%S-%f}"
            version = self._client.upload_pipeline_version(str(package.path), f"{name}-{now}", known[0].pipeline_id)
        return str(version.pipeline_id), str(version.pipeline_version_id)

    def _run(self, run: Any, tasks: tuple[RemoteTask, ...] = ()) -> RemoteRun:
        error = one_line(run.error.message or "") if run.error else ""
        url = f"{self._ui}/#/runs/details/{run.run_id}"
        return RemoteRun(run.run_id, run.display_name, _state(run), url, error, tasks)

    def _schedule(self, created: Any) -> Schedule:
        own, active = self._service.timezone, created.status == "ENABLED"
        cron = from_kfp(created.trigger.cron_schedule.cron if created.trigger.cron_schedule else "")
        return Schedule(
            id=created.recurring_run_id,
            name=created.display_name,
            cron=cron,
            timezone=own,
            active=active,
            url=f"{self._ui}/#/recurringrun/details/{created.recurring_run_id}",
            next_run=_next(cron, own) if active else None,
            last_run=self._last_run(created.recurring_run_id),
        )

    def _last_run(self, recurring_run_id: str) -> datetime | None:
        """When it last started a run; KFP says so only of the runs."""
        predicate = {"operation": _EQUALS, "key": "recurring_run_id", "stringValue": recurring_run_id}
        newest = next(self._list("runs", predicate, sort_by="created_at desc", page_size=1), None)
        return None if newest is None else newest.created_at

    @property
    def _ui(self) -> str:
        return (self._service.ui or self._host).rstrip("/")


def _state(run: Any) -> State:
    """A run that someone terminated ends as FAILED; `state_history` holds CANCELING before it."""
    state = _STATES.get(run.state, State.RUNNING) if run.state else State.PENDING
    was_terminated = any(each.state == "CANCELING" for each in run.state_history or ())
    return State.CANCELED if state is State.FAILED and was_terminated else state


class _Client(Client):
    """The client of KFP with a limit of time for every request, one request for the health, and logs of nodes."""

    def __init__(self, **settings: Any) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", FutureWarning)  # says that version 2 is needed
            super().__init__(**settings)
        rest = self._run_api.api_client.rest_client
        unlimited = rest.request

        def request(*arguments: Any, **options: Any) -> Any:
            options["_request_timeout"] = options.get("_request_timeout") or (_TIMEOUT_SECONDS, _TIMEOUT_SECONDS)
            return unlimited(*arguments, **options)

        rest.request = request

    def end_of_log(self, run_id: str, node_id: str) -> str:
        """The end of a node's log: kfp_server_api has no method for this endpoint."""
        response = self._run_api.api_client.call_api(
            f"/apis/v1alpha1/runs/{run_id}/nodes/{node_id}/log",
            "GET",
            auth_settings=["Bearer"],
            response_type=None,
            _preload_content=False,
            _return_http_data_only=True,
        )
        end = b""
        for part in response.stream(_LOG_BYTES):
            end = (end + part)[-_LOG_BYTES:]
        return end.decode(errors="replace")

    def get_kfp_healthz(self, sleep_duration: int = 5) -> Any:
        """The health of the installation."""
        return self._healthz_api.healthz_service_get_healthz()


def _next(cron: str, timezone: str) -> datetime | None:
    """When the installation will start the next run; None for a cron that is not ours."""
    try:
        return parse_cron(cron).next_after(datetime.now(parse_timezone(timezone)))
    except UserError:
        return None
