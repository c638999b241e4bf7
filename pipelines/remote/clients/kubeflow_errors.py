"""What Kubeflow Pipelines answers, as one line that says what to do."""

from __future__ import annotations

import io
import json
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout

from kfp_server_api import ApiException
from urllib3.exceptions import HTTPError, LocationParseError, MaxRetryError, SSLError

from reward_finetuning.config import RetryableError, UserError
from reward_finetuning.pipelines.targets.services import KfpService
from reward_finetuning.server_errors import is_retryable, one_line


@contextmanager
def translated(service: KfpService, host: str) -> Iterator[None]:
    """Errors of the client as ours.

    Raises:
        UserError: host, token, permission, namespace or request are wrong.
        RetryableError: the service cannot be reached, or is overloaded.
    """
    try:
        with quiet():
            yield
    except ApiException as error:
        raise _answered(error, service, host) from None
    except HTTPError as error:
        raise _unanswered(error, host) from None


@contextmanager
def quiet() -> Iterator[None]:
    """Silence the links that the client of KFP prints, and the retries that its HTTP library logs."""
    logging.getLogger("urllib3.connectionpool").setLevel(logging.ERROR)
    with redirect_stdout(io.StringIO()):
        yield


def _unanswered(error: HTTPError, host: str) -> UserError | RetryableError:
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(reason, (SSLError, LocationParseError)):
        return UserError(f"{host} cannot be used: {one_line(str(reason))}")
    return RetryableError(
        f"Kubeflow Pipelines at {host} cannot be reached ({type(reason).__name__}); check --host, the network or the "
        f"port-forward, then run the same command again"
    )


def _answered(error: ApiException, service: KfpService, host: str) -> UserError | RetryableError:
    message = one_line(_message(error))
    variable = service.token_variable
    if error.status == 401:
        given = f"the token in ${variable} is not accepted" if os.environ.get(variable) else "a token is needed"
        return UserError(f"{host}: {given} (401): put a valid one into ${variable} and run the same command again")
    if error.status == 403:
        return UserError(
            f"{host}: no permission (403) in namespace {service.namespace!r}: ask for the role kubeflow-edit there, or "
            f"give another --namespace; the server says: {message}"
        )
    if error.status == 404:
        return UserError(
            f"{host}: not found (404); check --host, --namespace and --experiment; the server says: {message}"
        )
    if error.status == 0:
        return UserError(f"{host} cannot be used: {message}")
    if is_retryable(error.status):
        return RetryableError(f"{host} failed ({error.status}); run the same command again; the server says: {message}")
    return UserError(f"{host} refuses the request ({error.status}): {message}")


def _message(error: ApiException) -> str:
    """The message of the server; KFP answers with JSON, a proxy in front of it may not."""
    body = error.body.decode(errors="replace") if isinstance(error.body, bytes) else str(error.body or "")
    try:
        answer = json.loads(body)
    except ValueError:
        return body or str(error.reason)
    if not isinstance(answer, dict):
        return body
    return str(answer.get("message") or answer.get("error_message") or answer.get("error") or body)
