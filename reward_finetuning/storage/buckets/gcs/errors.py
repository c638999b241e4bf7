"""What Google's client raises, as one clear error that says whether a retry helps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.server_errors import error_class, one_line
from reward_finetuning.storage.buckets.service import DamagedError

_ROLES = (
    "grant it roles/storage.objectUser on the bucket (roles/storage.objectViewer where it only reads), "
    "or use other credentials; docs/storage.md lists who needs what"
)


@contextmanager
def translation(where: str) -> Iterator[None]:
    """Turn errors of requests to a bucket into ours.

    Args:
        where: the bucket's URI.

    Raises:
        UserError: no credentials, no permission, or no such bucket. The text names the bucket, and the principal if the
            service does.
        RetryableError: no answer, or only server errors, until the deadline of PATIENCE.
    """
    import requests
    from google.api_core import exceptions as api
    from google.auth import exceptions as auth

    try:
        yield
    except DamagedError as error:
        if isinstance(error.__cause__, api.BadRequest):
            raise UserError(f"{where} refuses ({error})") from error
        raise RetryableError(f"{where}: what arrives is damaged every time ({error}); run it again") from error
    except auth.DefaultCredentialsError as error:
        raise UserError(
            f"{where}: there are no Google credentials; run `gcloud auth application-default login`, "
            f"or run the pod as a service account by Workload Identity ({_line(error)})"
        ) from error
    except auth.RefreshError as error:
        raise UserError(f"{where}: the credentials are not accepted ({_line(error)}); log in again") from error
    except (api.Unauthorized, api.Forbidden) as error:
        raise UserError(f"{where}: access is denied ({_line(error)}); {_ROLES}") from error
    except api.NotFound as error:
        raise UserError(f"{where}: there is no such bucket ({_line(error)}); make it, or correct its name") from error
    except api.RetryError as error:
        raise RetryableError(f"{where} does not answer ({_line(error.cause or error)}); run it again later") from error
    except (auth.TransportError, requests.RequestException, ConnectionError, TimeoutError) as error:
        raise RetryableError(f"{where} does not answer ({_line(error)}); run it again later") from error
    except api.GoogleAPICallError as error:
        if error_class(int(error.code or 500)) is UserError:
            raise UserError(f"{where} refuses ({_line(error)})") from error
        raise RetryableError(f"{where} does not answer ({_line(error)}); run it again later") from error


def _line(error: BaseException) -> str:
    from google.cloud.storage.exceptions import InvalidResponse

    return f"HTTP {error.response.status_code}" if isinstance(error, InvalidResponse) else one_line(error)
