"""Google's libraries, credentials and errors; nothing of Google is imported before it is needed."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from reward_finetuning.config import RetryableError, UserError
from reward_finetuning.pipelines.targets.services import VertexService
from reward_finetuning.server_errors import is_retryable, one_line

_LOGIN = "log in with `gcloud auth application-default login`, or point GOOGLE_APPLICATION_CREDENTIALS at a key"


def services() -> tuple[Any, Callable[..., Any], Callable[..., Any]]:
    """The module of messages, and the classes of the two clients; of aiplatform only what is generated: 2 s, not 9.

    Raises:
        UserError: google-cloud-aiplatform is not installed.
    """
    try:
        from google.cloud.aiplatform_v1 import types
        from google.cloud.aiplatform_v1.services.pipeline_service import PipelineServiceClient
        from google.cloud.aiplatform_v1.services.schedule_service import ScheduleServiceClient
    except ImportError:
        raise UserError("Vertex AI needs google-cloud-aiplatform: pip install 'reward-finetuning[vertex]'") from None
    return types, PipelineServiceClient, ScheduleServiceClient


def default_credentials() -> Any:
    """Application Default Credentials: gcloud's login, a key file, or the machine's service account."""
    from google.auth import default

    return default(scopes=["https://www.googleapis.com/auth/cloud-platform"])[0]


def client_options(service: VertexService) -> dict[str, str]:
    """Where the region's API is."""
    return {"api_endpoint": service.endpoint or f"{service.location}-aiplatform.googleapis.com"}


@contextmanager
def translated(service: VertexService) -> Iterator[None]:
    """Errors of Google's libraries as ours, in one line that says what to do.

    Raises:
        UserError: credentials, permission, project, region or request are wrong.
        RetryableError: the service cannot be reached, or is overloaded.
    """
    from google.api_core.exceptions import GoogleAPICallError
    from google.auth.exceptions import GoogleAuthError, TransportError
    from requests import RequestException

    try:
        yield
    except (RequestException, TransportError) as error:
        where = client_options(service)["api_endpoint"]
        raise RetryableError(
            f"Vertex AI at {where} cannot be reached ({type(error).__name__}); check --location and the network, then "
            f"run the same command again"
        ) from None
    except GoogleAuthError as error:
        raise UserError(f"no credentials for Google Cloud ({one_line(str(error))}): {_LOGIN}") from None
    except GoogleAPICallError as error:
        raise _answered(error, service) from None


def _answered(error: Any, service: VertexService) -> UserError | RetryableError:
    message = one_line(
        re.sub(r"^[A-Z]+ https?://\S+: ", "", str(error.message))
    )  # Google's library puts the request first
    code = int(error.code or 500)
    where = f"Vertex AI in project {service.project}, {service.location}"
    if code == 401:
        return UserError(f"{where}: the credentials are not accepted (401): {_LOGIN}; the server says: {message}")
    if code == 403:
        return UserError(
            f"{where}: no permission (403): the caller needs roles/aiplatform.user, and "
            f"roles/iam.serviceAccountUser on {service.service_account or 'the account that tasks run as'}; "
            f"the server says: {message}"
        )
    if code == 404:
        return UserError(f"{where}: not found (404); check --project and --location; the server says: {message}")
    if is_retryable(code):
        return RetryableError(f"{where} failed ({code}); run the same command again; the server says: {message}")
    return UserError(f"{where} refuses the request ({code}): {message}")
