"""The edge to Kubernetes: TrainJobs by name, and the termination messages of their pods."""

from __future__ import annotations

import json
import os
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from reward_finetuning.components.launcher.manifest import API_VERSION, DIGEST
from reward_finetuning.config import RetryableError, UserError
from reward_finetuning.server_errors import is_retryable, one_line

R = TypeVar("R")

_JOBSET_NAME = "jobset.sigs.k8s.io/jobset-name"  # label of the pods; Trainer's JobSet is called as its TrainJob
_REQUEST_SECONDS = 30.0
_EXISTS, _ABSENT = 409, 404
_LONGEST_MESSAGE = 1000


class TrainJobs:
    """The TrainJobs of one namespace. Requests that get no answer are repeated until the deadline."""

    def __init__(self, namespace: str | None, *, deadline: float, pause: float) -> None:
        """Connect with the service account of the pod, or as kubectl does.

        Args:
            namespace: of the TrainJobs; if not given, that of the pod or of the context of kubectl.
            deadline: time.monotonic() until which unanswered requests are repeated.
            pause: seconds between two requests.

        Raises:
            UserError: there is neither a service account nor a configuration of kubectl.
        """
        from kubernetes import client, config

        configuration = client.Configuration()
        configuration.retries = False  # ours wait between two attempts, and are logged
        try:
            if "KUBERNETES_SERVICE_HOST" in os.environ:  # in a pod
                config.load_incluster_config(client_configuration=configuration)
            else:
                config.load_kube_config(os.environ.get("KUBECONFIG"), client_configuration=configuration)
        except config.ConfigException as error:
            raise UserError(
                f"no Kubernetes cluster is configured: neither a pod's service account nor kubectl's file: {error}"
            ) from None
        connection = client.ApiClient(configuration)
        self._custom, self._core = client.CustomObjectsApi(connection), client.CoreV1Api(connection)
        self.namespace = namespace or _own_namespace()
        self._deadline, self.pause = deadline, pause

    def create(self, manifest: dict[str, Any]) -> bool:
        """Create the TrainJob.

        Returns:
            False if a TrainJob of this name exists.

        Raises:
            UserError: the cluster refuses it, with the message of the API server or the webhook.
            RetryableError: a quota is exceeded, or the API does not answer until the deadline.
        """
        create = self._custom.create_namespaced_custom_object
        try:
            self._until_answered(lambda: create(*self._resource(), manifest, _request_timeout=_REQUEST_SECONDS))
        except _RefusalError as refusal:
            if refusal.status == _EXISTS:
                return False
            raise refusal.as_error(self.namespace) from None
        return True

    def get(self, name: str) -> dict[str, Any] | None:
        """The TrainJob, or None if there is none.

        Raises:
            UserError: the cluster refuses the request.
            RetryableError: the API does not answer until the deadline.
        """
        get = self._custom.get_namespaced_custom_object
        try:
            return self._until_answered(lambda: get(*self._resource(), name, _request_timeout=_REQUEST_SECONDS))
        except _RefusalError as refusal:
            if refusal.status == _ABSENT:
                return None
            raise refusal.as_error(self.namespace) from None

    def delete(self, name: str) -> None:
        """Delete the TrainJob with its pods, and wait until it is gone.

        Raises:
            UserError: the cluster refuses the request.
            RetryableError: it still exists at the deadline.
        """
        delete = self._custom.delete_namespaced_custom_object
        options = {"propagation_policy": "Foreground", "_request_timeout": _REQUEST_SECONDS}
        try:
            self._until_answered(lambda: delete(*self._resource(), name, **options))
        except _RefusalError as refusal:
            if refusal.status != _ABSENT:
                raise refusal.as_error(self.namespace) from None
        while self.get(name) is not None:
            self.wait(f"TrainJob {name} is being deleted")

    def termination_messages(self, name: str) -> list[str]:
        """Termination messages of the containers of its pods; none if the account may not list pods."""
        pods = self._core.list_namespaced_pod
        selector = f"{_JOBSET_NAME}={name}"
        try:
            listed = self._until_answered(
                lambda: pods(self.namespace, label_selector=selector, _request_timeout=_REQUEST_SECONDS)
            )
        except _RefusalError:
            return []
        statuses = [status for pod in listed.items for status in pod.status.container_statuses or ()]
        states = [state for status in statuses for state in (status.state, status.last_state) if state]
        return [state.terminated.message for state in states if state.terminated and state.terminated.message]

    def wait(self, reason: str) -> None:
        """Sleep until the next look.

        Args:
            reason: what is waited for, in words, for the error.

        Raises:
            RetryableError: the deadline has passed.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise RetryableError(f"{reason}; the deadline has passed")
        time.sleep(min(self.pause, left))

    def _until_answered(self, call: Callable[[], R]) -> R:
        """Repeat a request until the API answers it.

        Raises:
            _RefusalError: an answer that the same request will get again.
            RetryableError: no answer until the deadline.
        """
        from kubernetes.client.exceptions import ApiException
        from urllib3.exceptions import HTTPError

        is_first = True
        while True:
            try:
                return call()
            except ApiException as error:
                if not is_retryable(int(error.status or 0)):
                    raise _RefusalError(error) from None
                problem = f"Kubernetes answers {error.status} {error.reason}: {_message(error)}"
            except HTTPError as error:
                problem = f"Kubernetes cannot be reached ({type(error).__name__})"
            if is_first:
                print(f"{problem}; the request is repeated every {self.pause:g} s", flush=True)
            is_first = False
            self.wait(problem)

    def _resource(self) -> tuple[str, str, str, str]:
        group, _, version = API_VERSION.partition("/")
        return group, version, self.namespace, "trainjobs"


class _RefusalError(Exception):
    """An answer of the API that the same request will get again."""

    def __init__(self, error: Any) -> None:
        self.status = int(error.status or 0)
        self.message = _message(error)
        super().__init__(self.message)

    def as_error(self, namespace: str) -> UserError | RetryableError:
        """What the user reads. Every text of the API server, a webhook or a CRD rule is passed on as it is.

        A status of 403 has three sources, which differ in the message only: RBAC (`cannot create resource`), an
        admission webhook or policy (`denied the request`), and a quota (`exceeded quota`).
        """
        if self.status == _ABSENT:
            return UserError(
                f"the cluster has no TrainJob ({API_VERSION}): install Kubeflow Trainer 2.3 or newer ({self.message})"
            )
        if self.status == 401 or (self.status == 403 and re.search(r"cannot \w+ resource", self.message)):
            return UserError(
                f"the service account has no right to TrainJobs in namespace {namespace}: it needs get, create and "
                f"delete of trainjobs.trainer.kubeflow.org, and list of pods ({self.message})"
            )
        if self.status == 403 and "exceeded quota" in self.message:
            return RetryableError(f"no quota is left for the TrainJob in namespace {namespace}: {self.message}")
        return UserError(f"the cluster refuses the TrainJob: {self.message}")


def _message(error: Any) -> str:
    """The message of a Kubernetes Status, else the whole answer."""
    try:
        message = json.loads(error.body)["message"]
    except (KeyError, TypeError, ValueError):
        message = error.body or f"{error.status} {error.reason}"
    return one_line(str(message), _LONGEST_MESSAGE)


def _own_namespace() -> str:
    from kubernetes import config

    mounted = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
    if mounted.is_file():
        return mounted.read_text(encoding="utf-8").strip()
    _, context = config.list_kube_config_contexts(os.environ.get("KUBECONFIG"))
    return str(context["context"].get("namespace", "default"))


def digest_of(job: dict[str, Any]) -> str:
    """Digest of the spec that the job was created with; empty if the launcher did not create it."""
    return str(job["metadata"].get("annotations", {}).get(DIGEST, ""))
