"""A store that does not keep the conditions of writes is refused when a run begins there."""

import pytest
from servers.faults import Fault

from reward_finetuning.config import RetryableError, UserError
from reward_finetuning.storage import RunDirectory

pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture
def run(run_config):
    def at(bucket):
        return RunDirectory(run_config(run_root=f"{bucket.uri}/runs", tracking={"enabled": False}))

    return at


def test_a_store_that_keeps_them_holds_a_run_and_nothing_of_the_test(bucket, run):
    run(bucket).begin({}, {})

    assert bucket.names() == ["runs/tiny/run.json"]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("ignored", "said"),
    [
        (
            "If-None-Match",
            r"created only where there is none \(If-None-Match: \* is ignored\): two tasks could overwrite",
        ),
        ("If-Match", r"replaces an object that has changed since it was read \(If-Match is ignored\)"),
        ("X-Amz-Meta-Writing", r"does not keep the metadata of objects"),
    ],
)
def test_a_store_that_ignores_one_is_refused_with_the_reason_before_anything_is_written(s3, run, ignored, said):
    s3.ignored_headers |= {ignored, "x-amz-meta-crc32c" if "Meta" in ignored else ignored}

    with pytest.raises(UserError, match=rf"s3://bucket: the store .*{said}"):
        run(s3).begin({}, {})
    assert s3.names() == []


@pytest.mark.slow
def test_a_store_that_checks_first_and_writes_then_is_refused(s3, run):
    s3.in_two_steps = True

    with pytest.raises(UserError, match=r"of 4 writes of one object at once the store took [2-4].*If-None-Match: \*"):
        run(s3).begin({}, {})
    assert s3.names() == []


def test_a_store_that_implements_none_is_refused(s3, run):
    s3.faults.append(Fault(501, "upload", times=10**6))

    with pytest.raises(UserError, match=r"the store does not implement a request \(HTTP 501 NotImplemented"):
        run(s3).begin({}, {})


@pytest.mark.slow
@pytest.mark.parametrize("action", [503, "lost", "reset"])
def test_a_fault_on_the_way_is_not_taken_for_a_store_that_ignores_them(bucket, run, action):
    bucket.faults += [
        Fault(action, kind, "conditions", after=after) for kind in ("upload", "metadata") for after in range(3)
    ]

    run(bucket).begin({}, {})

    assert bucket.names() == ["runs/tiny/run.json"]


@pytest.mark.slow
def test_a_store_that_is_down_is_not_refused_but_tried_again(bucket, run, patience):
    patience(total_seconds=0.5)
    bucket.faults.append(Fault(503, "upload", times=10**6))

    with pytest.raises(RetryableError):
        run(bucket).begin({}, {})


def test_a_run_that_has_begun_is_not_asked_again(bucket, run):
    run(bucket).begin({}, {})
    bucket.requests.clear()

    run(bucket).begin({}, {})

    assert not [request for request in bucket.requests if "conditions" in request.name]
