"""What boto3 raises, as one clear error that says whether a retry helps."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.server_errors import is_retryable, one_line
from reward_finetuning.storage.buckets.service import ConflictError, DamagedError, MissingError

_TEMPORARY = frozenset({"ConditionalRequestConflict", "OperationAborted", "RequestTimeout", "SlowDown", "Throttling"})
"""Codes that come with a status of 4xx and still pass; 409 is another write of the same object at the same time."""

_DAMAGED = frozenset({"BadDigest", "InvalidDigest", "XAmzContentSHA256Mismatch", "IncompleteBody"})
_KEYS = frozenset(
    {"InvalidAccessKeyId", "SignatureDoesNotMatch", "ExpiredToken", "InvalidToken", "InvalidClientTokenId"}
)
_ACTIONS = (
    "allow s3:GetObject, s3:ListBucket and, where it writes, s3:PutObject, s3:DeleteObject and "
    "s3:AbortMultipartUpload, or use other keys; docs/storage.md lists who needs what"
)
_DENIED = ("access is denied", _ACTIONS)
_RIGHT = {
    401: _DENIED,
    403: _DENIED,
    404: ("there is no such bucket", "make it, or correct its name"),
    501: ("the store does not implement a request", "docs/storage.md lists what a store must offer"),
}
"""By HTTP status: what is wrong, and what would be right."""


def code_of(error: Any) -> str:
    """The code of a ClientError, such as NoSuchKey; of an answer without a body, its HTTP status."""
    return str(error.response.get("Error", {}).get("Code", ""))


def status_of(error: Any) -> int:
    """The HTTP status of a ClientError."""
    return int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))


def is_temporary(error: BaseException) -> bool:
    """Whether the same request may succeed in a moment."""
    from botocore import exceptions as aws

    if isinstance(error, aws.ClientError):
        return is_retryable(status_of(error)) or code_of(error) in _TEMPORARY
    if isinstance(error, aws.SSLError):  # a certificate that is not accepted stays so
        return False
    lost = (aws.HTTPClientError, aws.ConnectionError, aws.IncompleteReadError, ConnectionError, TimeoutError)
    return isinstance(error, (*lost, aws.CredentialRetrievalError, aws.MetadataRetrievalError))


@contextmanager
def outcomes() -> Iterator[None]:
    """Answers that concern the object alone, as the errors of Service."""
    from botocore.exceptions import ClientError, FlexibleChecksumError

    try:
        yield
    except FlexibleChecksumError as error:
        raise DamagedError(_line(error)) from error
    except ClientError as error:
        code = code_of(error)
        if code in {"NoSuchKey", "404"}:
            raise MissingError from error
        if code in {"PreconditionFailed", "412"}:
            raise ConflictError from error
        if code in _DAMAGED:
            raise DamagedError(_line(error)) from error
        raise


@contextmanager
def translation(where: str) -> Iterator[None]:
    """Turn errors of requests to a bucket into ours.

    Args:
        where: the bucket's URI.

    Raises:
        UserError: no keys, no permission, or no such bucket. The text names the bucket.
        RetryableError: no answer, or only server errors, until the deadline of PATIENCE.
    """
    from botocore.exceptions import BotoCoreError, ClientError
    from google.api_core.exceptions import RetryError

    try:
        yield
    except RetryError as error:
        raise RetryableError(f"{where} does not answer ({_line(error.cause or error)}); run it again later") from error
    except DamagedError as error:
        raise RetryableError(f"{where}: what arrives is damaged every time ({error}); run it again") from error
    except ClientError as error:
        raise _of_answer(where, error) from error
    except (BotoCoreError, ConnectionError, TimeoutError) as error:
        if is_temporary(error):
            raise RetryableError(f"{where} does not answer ({one_line(error)}); run it again later") from error
        raise UserError(f"{where}: {_without_answer(error)}") from error


def _of_answer(where: str, error: Any) -> UserError | RetryableError:
    code, status, line = code_of(error), status_of(error), _line(error)
    if code == "NoSuchUpload":
        return RetryableError(f"{where}: an upload was ended by another task ({line}); run it again")
    if is_temporary(error):
        return RetryableError(f"{where} does not answer ({line}); run it again later")
    if code in _KEYS:
        return UserError(f"{where}: the keys are not accepted ({line}); correct them")
    right = _RIGHT.get(status if code != "RequestTimeTooSkewed" else 0)
    return UserError(f"{where} refuses ({line})" if right is None else f"{where}: {right[0]} ({line}); {right[1]}")


def _without_answer(error: BaseException) -> str:
    from botocore import exceptions as aws

    if isinstance(error, aws.NoCredentialsError | aws.PartialCredentialsError):
        return (
            f"there are no keys ({one_line(error)}); set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or another "
            "source that boto3 reads; on a cluster from a Kubernetes secret, or by a role of the service account"
        )
    return f"the request cannot be made ({one_line(error)})"


def _line(error: BaseException) -> str:
    from botocore.exceptions import ClientError

    if not isinstance(error, ClientError):
        return one_line(error)
    code, status = code_of(error), status_of(error)
    answer = f"HTTP {status}" if code == str(status) else f"HTTP {status} {code}"
    return one_line(f"{answer}: {error.response.get('Error', {}).get('Message') or 'no message'}")
