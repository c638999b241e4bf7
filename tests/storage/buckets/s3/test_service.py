"""What stores do differently from Amazon, and what an answer that breaks off leads to."""

import random

import boto3
import pytest
from servers.faults import Fault

from reward_finetuning.config import ArtifactError
from reward_finetuning.storage import Identity, cache, open_store
from reward_finetuning.storage.folders import local_path

IDENTITY = Identity(kind="policy", fingerprint="f", epoch=3, policy="p")
CONTENT = random.Random(0).randbytes(3_000_000)

pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture
def store(s3):
    store = open_store("s3://bucket/runs/tiny")
    manifest = store.commit("a", IDENTITY, lambda folder: (folder / "one").write_bytes(CONTENT) and {})
    cache.drop(manifest.checksum)
    return store


def ranges(s3):
    return [
        request.headers.get("Range") for request in s3.requests if request.kind == "read" and "/one" in request.name
    ]


def test_a_download_that_breaks_off_resumes_with_the_byte_that_is_missing(s3, store):
    s3.faults.append(Fault("truncate", "read", "/one", times=4))

    assert (store.fetch("a") / "one").read_bytes() == CONTENT
    first, *rest = ranges(s3)
    assert first is None
    starts = [int(each.removeprefix("bytes=").rstrip("-")) for each in rest]
    assert starts == sorted(set(starts))
    assert starts[0] > 0


def test_a_store_that_ignores_ranges_is_read_from_the_start(s3, store):
    s3.ignored_headers.add("Range")
    s3.faults.append(Fault("truncate", "read", "/one"))

    assert (store.fetch("a") / "one").read_bytes() == CONTENT


def test_a_store_that_ignores_if_match_gives_no_other_object_than_the_listed_one(s3, store):
    s3.ignored_headers.add("If-Match")
    (name,) = [name for name in s3.names() if name.endswith("/one")]
    s3.put(name, b"2")

    with pytest.raises(ArtifactError, match="one is gone: someone deleted or replaced it"):
        store.fetch("a")


def test_an_object_of_another_program_is_checked_by_the_checksum_that_the_store_has(s3):
    boto3.client("s3").put_object(Bucket="bucket", Key="set.txt", Body=CONTENT, ChecksumAlgorithm="CRC32")
    s3.faults.append(Fault("corrupt", "read", "set.txt", times=2))

    assert local_path("s3://bucket/set.txt").read_bytes() == CONTENT


def test_the_generation_is_the_etag(s3, store):
    (name,) = [name for name in s3.names() if name.endswith("/one")]

    assert store.manifest("a").objects["one"].generation == s3.generation(name)
