"""The bucket that a URI names, by the service of its scheme."""

from __future__ import annotations

from collections.abc import Callable

from reward_finetuning.config.errors import UserError
from reward_finetuning.server_errors import accepts_connections
from reward_finetuning.storage.buckets.bucket import Bucket
from reward_finetuning.storage.buckets.gcs import client as gcs_client
from reward_finetuning.storage.buckets.gcs.service import GcsService
from reward_finetuning.storage.buckets.s3 import client as s3_client
from reward_finetuning.storage.buckets.s3.service import S3Service
from reward_finetuning.storage.buckets.service import Service
from reward_finetuning.storage.uri import scheme_of, split_uri

SERVICES: dict[str, Callable[[str, str], Service]] = {"gs": GcsService, "s3": S3Service}
"""Storage services by scheme; each has an entry in _SERVER_URLS, too, and its scheme in config/locations.py."""

ENVIRONMENT = (*gcs_client.ENVIRONMENT, *s3_client.ENVIRONMENT)
"""Variables by which users select servers and accounts: containers need them, too."""

CREDENTIAL_FILES = (*gcs_client.FILES, *s3_client.FILES)
"""Those of them that name files."""

_SERVER_URLS = {"gs": gcs_client.server_url, "s3": s3_client.server_url}


def open_bucket(uri: str) -> tuple[Bucket, str]:
    """The bucket of a URI, and the object's name or the prefix. Nothing is read yet.

    Raises:
        UserError: a scheme that is not supported, or no bucket.
    """
    bucket, name = split_uri(uri)
    scheme = scheme_of(uri)
    return Bucket(SERVICES[scheme](f"{scheme}://{bucket}", bucket)), name


def is_reachable(scheme: str) -> bool:
    """Whether the storage service of a scheme accepts connections; seconds, where a request would take minutes.

    It is not where the environment does not say which server to ask.
    """
    try:
        return accepts_connections(_SERVER_URLS[scheme]())
    except UserError:
        return False
