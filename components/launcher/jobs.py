"""The edge to Kubernetes: TrainJobs by name, and what their pods said when they ended."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from components.launcher.manifest import API_VERSION, DIGEST
from reward_finetuning.config import RetryableError, UserError

R = TypeVar("R")

_JOBSET_NAME = "jobset.sigs.k8s.io/jobset-name"  # label of the pods; Trainer's JobSet is called as its TrainJob
_REQUEST_SECONDS = 30.0
_TRANSIENT = {408, 429, 500, 502, 503, 504}
_TAKEN, _ABSENT, _FORBIDDEN = 409, 404, (401, 403)


class TrainJobs:
    """The TrainJobs of one namespace. A connection that is lost is made again until the deadline."""

    def __init__(self, namespace: str | None, *, deadline: float, pause: float) -> None:
        """Connect with the pod's service account, or as kubectl would.

        Args:
            namespace: where; that of the pod, or of kubectl's context, when not given.
            deadline: time.monotonic() after which a lost connection is given up.
            pause: seconds between two attempts.

        Raises:
            UserError: there is neither.
        """
        from kubernetes import client, config

        configuration = client.Configuration()
        configuration.retries = False  # the client's own, at once after one another, would hide a lost connection
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ:  # in a pod
                config.load_incluster_config(client_configuration=configuration)
            else:
                config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
        except config.ConfigException as error:
            raise UserError(f"no Kubernetes cluster is known here, neither a pod's nor kubectl's: {error}") from None
        connection = client.ApiClient(configuration)
        self._custom, self._core = client.CustomObjectsApi(connection), client.CoreV1Api(connection)
        self.namespace = namespace or _own_namespace()
        self._deadline, self.pause = deadline, pause

    def create(self, manifest: dict[str, Any]) -> bool:
        """Make it; False where one of this name is there already.

        Raises:
            UserError: the cluster refuses it; the text says why.
        """
        create = self._custom.create_namespaced_custom_object
        try:
            self._patiently(lambda: create(*self._of_all(), manifest, _request_timeout=_REQUEST_SECONDS))
        except _RefusedError as refused:
            if refused.status == _TAKEN:
                return False
            raise UserError(self._why(refused)) from None
        return True

    def get(self, name: str) -> dict[str, Any] | None:
        """It, or None where there is none."""
        get = self._custom.get_namespaced_custom_object
        try:
            return self._patiently(lambda: get(*self._of_all(), name, _request_timeout=_REQUEST_SECONDS))
        except _RefusedError as refused:
            if refused.status == _ABSENT:
                return None
            raise UserError(self._why(refused)) from None

    def delete(self, name: str) -> None:
        """Delete it with its pods, and wait until it is gone."""
        delete = self._custom.delete_namespaced_custom_object
        options = {"propagation_policy": "Foreground", "_request_timeout": _REQUEST_SECONDS}
        try:
            self._patiently(lambda: delete(*self._of_all(), name, **options))
        except _RefusedError as refused:
            if refused.status != _ABSENT:
                raise UserError(self._why(refused)) from None
        while self.get(name) is not None:
            self.wait(f"TrainJob {name} is being deleted")

    def last_words(self, name: str) -> list[str]:
        """What containers of its pods left in their termination logs; none where pods may not be listed."""
        pods = self._core.list_namespaced_pod
        selector = f"{_JOBSET_NAME}={name}"
        try:
            listed = self._patiently(
                lambda: pods(self.namespace, label_selector=selector, _request_timeout=_REQUEST_SECONDS)
            )
        except _RefusedError:
            return []
        statuses = [status for pod in listed.items for status in pod.status.container_statuses or ()]
        states = [state for status in statuses for state in (status.state, status.last_state) if state]
        return [state.terminated.message for state in states if state.terminated and state.terminated.message]

    def wait(self, for_what: str) -> None:
        """Until it is worth another look.

        Raises:
            RetryableError: the deadline is over.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise RetryableError(f"{for_what}; given up")
        time.sleep(min(self.pause, left))

    def _patiently(self, call: Callable[[], R]) -> R:
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        told = False
        while True:
            try:
                return call()
            except ApiException as error:
                if error.status not in _TRANSIENT:
                    raise _RefusedError(error) from None
                said = f"answers {error.status} {error.reason}"
            except HTTPError as error:
                said = f"is not reached ({type(error).__name__})"
            if not told:
                print(f"Kubernetes {said}; asked again until it answers", flush=True)
            told = True
            self.wait(f"Kubernetes {said}")

    def _of_all(self) -> tuple[str, str, str, str]:
        group, _, version = API_VERSION.partition("/")
        return group, version, self.namespace, "trainjobs"

    def _why(self, refused: _RefusedError) -> str:
        if refused.status == _ABSENT:
            return f"the cluster knows no TrainJob ({API_VERSION}): install Kubeflow Trainer 2.3 or newer"
        if refused.status in _FORBIDDEN:
            return (
                f"the service account may not handle TrainJobs in namespace {self.namespace}: it needs get, create and "
                f"delete of trainjobs.trainer.kubeflow.org, and list of pods ({refused.said})"
            )
        return f"the cluster refuses the TrainJob: {refused.said}"


class _RefusedError(Exception):
    """An answer that asking again does not change."""

    def __init__(self, error: Any) -> None:
        self.status = int(error.status or 0)
        self.said = " ".join(_message(error).split())[:1000]
        super().__init__(self.said)


def _message(error: Any) -> str:
    try:
        return str(json.loads(error.body)["message"])
    except (KeyError, TypeError, ValueError):
        return f"{error.status} {error.reason}"


def _own_namespace() -> str:
    from kubernetes import config

    mounted = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    if mounted.is_file():
        return mounted.read_text(encoding="utf-8").strip()
    _, context = config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
    return str(context["context"].get("namespace", "default"))


def digest_of(job: dict[str, Any]) -> str:
    """Of the spec that the job was asked for with; empty for a job of somebody else."""
    return str(job["metadata"].get("annotations", {}).get(DIGEST, ""))
