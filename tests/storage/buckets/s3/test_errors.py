"""What a store's answers mean for who runs a task."""

import pytest

from reward_finetuning.config import RetryableError, UserError
from reward_finetuning.storage import open_store

pytestmark = pytest.mark.usefixtures("patience")


@pytest.fixture
def store(s3):
    return open_store("s3://bucket/runs")


@pytest.mark.slow
@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((403, "AccessDenied", "Access Denied"), r"access is denied \(HTTP 403 AccessDenied: .*allow s3:GetObject"),
        ((403, "SignatureDoesNotMatch", "x"), r"the keys are not accepted \(HTTP 403 SignatureDoesNotMatch"),
        ((400, "ExpiredToken", "x"), r"the keys are not accepted \(HTTP 400 ExpiredToken"),
        ((403, "RequestTimeTooSkewed", "The difference is too large"), r"refuses \(HTTP 403 RequestTimeTooSkewed"),
        ((404, "NoSuchBucket", "x"), r"s3://bucket: there is no such bucket \(HTTP 404 NoSuchBucket"),
        ((501, "NotImplemented", "A header"), r"does not implement a request \(HTTP 501 .*docs/storage.md lists"),
        ((400, "AuthorizationHeaderMalformed", "expecting 'eu-1'"), r"refuses \(HTTP 400 .*expecting 'eu-1'"),
    ],
)
def test_what_only_a_person_can_correct_ends_at_once(s3, store, answer, said):
    s3.refuse_with = answer

    with pytest.raises(UserError, match=said):
        store.create_json("x.json", {})
    assert len(s3.requests) == 1


@pytest.mark.slow
@pytest.mark.parametrize(
    "answer",
    [
        (500, "InternalError", "x"),
        (503, "SlowDown", "x"),
        (409, "ConditionalRequestConflict", "x"),
        (409, "OperationAborted", "x"),
        (400, "RequestTimeout", "x"),
    ],
)
def test_what_passes_is_tried_until_patience_ends(s3, store, answer, patience):
    patience(total_seconds=0.3)
    s3.refuse_with = answer

    with pytest.raises(RetryableError, match=rf"s3://bucket does not answer \(HTTP {answer[0]} {answer[1]}"):
        store.create_json("x.json", {})
    assert len(s3.requests) > 1


def test_a_conflict_with_a_write_at_the_same_time_passes(s3, store):
    s3.refuse_with, s3.refusals = (409, "ConditionalRequestConflict", "x"), 2

    assert store.create_json("x.json", {"n": 1})
    assert store.read_json("x.json") == {"n": 1}
