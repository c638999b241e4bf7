import pytest

from reward_finetuning.storage.buckets.schemes import is_reachable, open_bucket


def test_a_uri_is_a_bucket_of_its_scheme_and_a_name(bucket):
    opened, name = open_bucket(f"{bucket.uri}/runs//tiny/")

    assert (opened.uri, name) == (bucket.uri, "runs/tiny")


def test_a_service_that_accepts_connections_is_reachable(bucket):
    assert is_reachable(bucket.scheme)


def test_a_closed_port_is_not(bucket, monkeypatch):
    bucket.url = "http://127.0.0.1:9"
    for name, value in bucket.environment.items():
        monkeypatch.setenv(name, value)

    assert not is_reachable(bucket.scheme)


@pytest.mark.usefixtures("s3")
def test_a_server_that_the_environment_does_not_name_is_not(monkeypatch):
    monkeypatch.setenv("AWS_PROFILE", "nobody")

    assert not is_reachable("s3")
