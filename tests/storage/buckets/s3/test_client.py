"""Server, region, addressing and keys are those that boto3 reads from the environment and its files."""

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.storage import open_store
from reward_finetuning.storage.buckets.s3.client import ENVIRONMENT, client, server_url

SECRET = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"


@pytest.fixture
def aws(monkeypatch, tmp_path):
    """No setting of the machine; sets those of a test."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / name))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")

    def write(config="", credentials="", **environment):
        (tmp_path / "AWS_CONFIG_FILE").write_text(config)
        (tmp_path / "AWS_SHARED_CREDENTIALS_FILE").write_text(credentials)
        for name, value in environment.items():
            monkeypatch.setenv(name, value)

    return write


def address(bucket="bucket", key="a/b"):
    """Where a request for an object goes."""
    return client().generate_presigned_url("get_object", {"Bucket": bucket, "Key": key}).partition("?")[0]


def test_without_an_endpoint_requests_go_to_the_region_at_amazon(aws):
    aws(AWS_REGION="eu-west-3", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")

    assert client().meta.region_name == "eu-west-3"
    assert server_url() == "https://s3.eu-west-3.amazonaws.com"


def test_the_default_region_is_read_as_boto3_reads_it(aws):
    aws(AWS_DEFAULT_REGION="us-west-2", AWS_ACCESS_KEY_ID="a", AWS_SECRET_ACCESS_KEY="b")

    assert client().meta.region_name == "us-west-2"


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"])
def test_a_store_of_ones_own_is_addressed_by_path(aws, variable):
    aws(**{variable: "http://store.team.svc:9000", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"})

    assert address() == "http://store.team.svc:9000/bucket/a/b"


def test_the_configuration_file_may_ask_for_names_of_buckets_in_the_host(aws):
    aws(
        "[default]\nregion = garage\nendpoint_url = https://store.example.com\ns3 =\n  addressing_style = virtual\n",
        "[default]\naws_access_key_id = a\naws_secret_access_key = b\n",
    )

    assert address() == "https://bucket.store.example.com/a/b"
    assert client().meta.region_name == "garage"


def test_a_profile_selects_keys_and_server(aws):
    aws(
        "[profile other]\nendpoint_url = https://other.example.com\n",
        "[other]\naws_access_key_id = key-of-other\naws_secret_access_key = b\n",
        AWS_PROFILE="other",
    )

    url = client().generate_presigned_url("get_object", {"Bucket": "bucket", "Key": "a"})
    assert url.startswith("https://other.example.com/bucket/a?")
    assert "key-of-other" in url


def test_another_endpoint_is_another_client(aws):
    aws(AWS_ENDPOINT_URL_S3="http://one:9000")
    one = client()
    aws(AWS_ENDPOINT_URL_S3="http://two:9000")

    assert client() is not one
    assert server_url() == "http://two:9000"


@pytest.mark.parametrize(
    ("environment", "said"),
    [
        ({"AWS_ENDPOINT_URL_S3": "store:9000"}, r"S3 is not configured: Invalid endpoint: store:9000"),
        ({"AWS_PROFILE": "nobody"}, r"S3 is not configured: The config profile \(nobody\) could not be found"),
    ],
)
def test_a_setting_that_is_none_is_named(aws, environment, said):
    aws(**environment)

    with pytest.raises(UserError, match=said):
        open_store("s3://bucket/runs").read_json("x.json")


def test_without_keys_the_message_says_where_they_come_from(aws):
    aws(AWS_ENDPOINT_URL_S3="http://127.0.0.1:9")

    with pytest.raises(UserError, match=r"s3://bucket: there are no keys .*set AWS_ACCESS_KEY_ID and"):
        open_store("s3://bucket/runs").read_json("x.json")


def test_no_key_appears_in_a_message_or_a_log(aws, s3, caplog, capfd):
    aws(AWS_ACCESS_KEY_ID="AKIAIOSFODNN7EXAMPLE", AWS_SECRET_ACCESS_KEY=SECRET, AWS_ENDPOINT_URL_S3=s3.url)
    s3.refuse_with = (403, "InvalidAccessKeyId", "The AWS Access Key Id you provided does not exist in our records.")

    with pytest.raises(UserError, match=r"the keys are not accepted \(HTTP 403 InvalidAccessKeyId") as error:
        open_store("s3://bucket/runs").read_json("x.json")

    seen = str(error.value) + caplog.text + "".join(capfd.readouterr())
    assert SECRET not in seen
    assert "AKIAIOSFODNN7EXAMPLE" not in seen
