"""Files above one part: uploaded part by part, so that no more than one part of each is in memory."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import partial
from hashlib import md5
from pathlib import Path
from typing import IO, Any

from reward_finetuning.storage.buckets.patience import retry_damaged
from reward_finetuning.storage.buckets.s3.client import client, request
from reward_finetuning.storage.buckets.s3.errors import code_of, outcomes
from reward_finetuning.storage.buckets.service import ConflictError

PART_BYTES = 16 << 20
"""Of a part, and the largest file that is uploaded whole; S3 takes parts of 5 MiB to 5 GiB."""

_MOST_PARTS = 10_000


def write_parts(target: dict[str, str], path: Path, metadata: Mapping[str, str], condition: Mapping[str, str]) -> Any:
    """Upload a file in parts; what is there of it is freed where it fails.

    Args:
        target: arguments that name the object: Bucket and Key.
        path: the file.
        metadata: kept with the object.
        condition: arguments that state it; it is checked when the parts become one object.

    Returns:
        The answer to the request that completes the upload.

    Raises:
        ConflictError: the condition does not hold, or the answer to the completion was lost.
    """
    from botocore.exceptions import ClientError

    upload = target | {"UploadId": request("create_multipart_upload", **target, Metadata=metadata)["UploadId"]}
    try:
        with path.open("rb") as file:
            parts = _upload_parts(upload, file, part_bytes(path.stat().st_size))
        try:
            return request("complete_multipart_upload", **upload, MultipartUpload={"Parts": parts}, **condition)
        except ClientError as error:  # a completion whose answer was lost leaves no upload
            if code_of(error) == "NoSuchUpload":
                raise ConflictError from error
            raise
    except BaseException:
        with suppress(Exception):  # the error that ended the upload is the one to report
            client().abort_multipart_upload(**upload)
        raise


def part_bytes(size: int) -> int:
    """Bytes of a part of a file of this size: a file has at most 10000."""
    return max(PART_BYTES, -(-size // _MOST_PARTS))


def abort_uploads(bucket: str, prefix: str, matches: Callable[[str], object]) -> None:
    """End unfinished uploads of objects below a prefix whose names match, as killed processes leave them."""
    page: dict[str, str] = {}
    while True:
        listing = request("list_multipart_uploads", Bucket=bucket, Prefix=prefix, **page)
        for upload in listing.get("Uploads", ()):
            if matches(upload["Key"]):
                request("abort_multipart_upload", Bucket=bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        if not listing.get("IsTruncated"):
            return
        page = {"KeyMarker": listing["NextKeyMarker"], "UploadIdMarker": listing["NextUploadIdMarker"]}


def content_md5(data: bytes) -> str:
    """The value of Content-MD5, which every store compares with what arrives."""
    return b64encode(md5(data, usedforsecurity=False).digest()).decode()


def _upload_parts(upload: Mapping[str, str], file: IO[bytes], size: int) -> list[dict[str, Any]]:
    parts: list[dict[str, Any]] = []
    while data := file.read(size):
        number = len(parts) + 1
        parts.append({"PartNumber": number, "ETag": retry_damaged(partial(_upload_part, upload, data, number))})
    return parts


def _upload_part(upload: Mapping[str, str], data: bytes, number: int) -> str:
    with outcomes():
        part = request("upload_part", **upload, PartNumber=number, Body=data, ContentMD5=content_md5(data))
    return str(part["ETag"])
