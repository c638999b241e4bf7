"""boto3's client of S3, configured by the environment and the files that every AWS tool reads."""

from __future__ import annotations

import os
from functools import lru_cache
from typing import Any

from reward_finetuning.config.errors import UserError
from reward_finetuning.server_errors import one_line
from reward_finetuning.storage.buckets import patience
from reward_finetuning.storage.buckets.patience import WORKERS
from reward_finetuning.storage.buckets.s3.errors import is_temporary

FILES = ("AWS_CA_BUNDLE", "AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE", "AWS_WEB_IDENTITY_TOKEN_FILE")
ENVIRONMENT = (
    *FILES,
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "AWS_DEFAULT_REGION",
    "AWS_ENDPOINT_URL",
    "AWS_ENDPOINT_URL_S3",
    "AWS_PROFILE",
    "AWS_ROLE_ARN",
)
"""Variables that select server, region and account; a client belongs to their values."""


def client() -> Any:
    """This process's S3 client.

    Raises:
        UserError: the environment or the configuration file names an endpoint or a profile that is none.
    """
    settings = tuple(os.environ.get(name) for name in ENVIRONMENT)
    return _client(os.getpid(), settings, patience.PATIENCE.request_seconds)


def server_url() -> str:
    """The server that requests go to."""
    return str(client().meta.endpoint_url)


def request(operation: str, **arguments: Any) -> Any:
    """The answer to a request, which is made again until PATIENCE ends.

    Args:
        operation: a method of boto3's client, such as put_object.
        arguments: of that method.
    """
    return patience.retry(is_temporary)(getattr(client(), operation))(**arguments)


@lru_cache(maxsize=8)
def _client(_process: int, _settings: tuple[str | None, ...], request_seconds: float) -> Any:
    """A connection belongs to one process and one server."""
    import boto3
    from botocore.config import Config
    from botocore.exceptions import BotoCoreError

    config = Config(
        connect_timeout=min(request_seconds, 10.0),
        read_timeout=request_seconds,
        # One attempt: `patience.retry` repeats requests, with a deadline in seconds as for every other service.
        retries={"total_max_attempts": 1, "mode": "standard"},
        max_pool_connections=WORKERS + 2,
        # The signature covers a SHA-256 of the data, which every store checks. The checksums that boto3 would append
        # to the data are not known to stores of before 2025.
        request_checksum_calculation="when_required",
        s3={"payload_signing_enabled": True},
    )
    try:
        # Other SDKs and Kubernetes' service accounts set AWS_REGION; boto3 alone reads only AWS_DEFAULT_REGION.
        session = boto3.session.Session(region_name=os.environ.get("AWS_REGION"))
        return session.client("s3", config=config)
    except (BotoCoreError, ValueError) as error:
        raise UserError(
            f"S3 is not configured: {one_line(error)}; correct the AWS_ variables of the environment, or ~/.aws/config"
        ) from error
