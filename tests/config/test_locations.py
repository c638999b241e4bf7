from pathlib import Path

import pytest

from reward_finetuning.config import EvaluationRun, RunConfig, UserError, load_config
from reward_finetuning.config.externals import Kind, external_settings, replace_external
from reward_finetuning.config.locations import PROMPT_FORMATS

EVERYTHING = {
    "name": "a",
    "model": {"source": "m", "trainable": "lora", "adapter": "a", "single_file_configs": "c"},
    "warm_start": {"run_directory": "r", "epoch": 1},
    "evaluation": {"prompt_sets": {"x": "p"}},
    "prompts": {"train": "p"},
    "reward": {"weights": {"s": 1.0}, "scorers": {"s": {"source": "w"}}},
    "tracking": {"uri": "mlruns"},
}
RUN = RunConfig.model_validate(EVERYTHING)
EVALUATION = EvaluationRun.model_validate({"name": "e", "policies": [{"run": "runs/one"}]})
PATHS = [
    (config, setting.key)
    for config in (RUN, EVALUATION)
    for setting in external_settings(config)
    if setting.external.kind not in {Kind.PLUGIN, Kind.SERVICE}
]


def with_value(config, key, value):
    return replace_external(config, lambda setting: value if setting.key == key else setting.value)


@pytest.mark.parametrize(("config", "key"), PATHS, ids=[key for _, key in PATHS])
@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("$HOME/x", r"\$HOME are not expanded in settings: write /home/me/x"),
        ("${HOME}/x", r"write /home/me/x"),
        ("a/$NOWHERE_AT_ALL/x", r"\$NOWHERE_AT_ALL are not expanded in settings: write the path itself"),
        ("gs:/x", r"a bucket is written gs://BUCKET/PREFIX: write gs://x"),
        ("gs:x/y", r"write gs://x/y"),
        ("s3:/x", r"a bucket is written s3://BUCKET/PREFIX: write s3://x"),
        ("C:\\x", r"a Windows path names nothing here; in WSL"),
        ("C:/x", r"a Windows path names nothing here"),
        ("a\\b", r"folders are separated by /: write a/b"),
        (" a", "begins or ends with a space"),
        ("a\nb", "control character"),
        ("~nobody-of-that-name/x", "there is no user nobody-of-that-name here; a folder of that name is ./~nobody"),
        ("x" * 300, "a name of more than 255 bytes"),
    ],
)
def test_a_path_that_would_become_a_folder_of_another_name_is_refused(monkeypatch, config, key, value, message):
    monkeypatch.setenv("HOME", "/home/me")

    with pytest.raises(ValueError, match=message):
        with_value(config, key, value)


@pytest.mark.parametrize(("config", "key"), PATHS, ids=[key for _, key in PATHS])
def test_a_tilde_is_the_home_folder(monkeypatch, config, key):
    monkeypatch.setenv("HOME", "/home/me")

    changed = {setting.key: setting.value for setting in external_settings(with_value(config, key, "~/x"))}

    assert changed[key] == "/home/me/x"


@pytest.mark.parametrize("name", PROMPT_FORMATS)
def test_a_path_after_a_format_is_checked_too(monkeypatch, name):
    monkeypatch.setenv("HOME", "/home/me")

    assert with_value(RUN, "prompts.train", f"{name}:~/x").prompts.train == f"{name}:/home/me/x"
    with pytest.raises(ValueError, match="write gs://x"):
        with_value(RUN, "prompts.train", f"{name}:gs:/x")


@pytest.mark.parametrize("value", ["S3://x/y", "Gs://x/y"])
def test_a_scheme_is_in_lower_case(value):
    with pytest.raises(ValueError, match=f"a bucket is written .*: write {value.lower()}"):
        with_value(RUN, "run_root", value)


@pytest.mark.parametrize("value", ["s3a://bucket/x", "https://host/x", "hdfs://x/y"])
def test_another_scheme_is_refused(value):
    with pytest.raises(ValueError, match=r"paths and gs://BUCKET/PREFIX or s3://BUCKET/PREFIX are supported, not"):
        with_value(RUN, "run_root", value)


@pytest.mark.parametrize(
    "value",
    [
        "runs",
        "../runs",
        "./~",
        "gs://bucket/x",
        "s3://bucket/x",
        "owner/name",
        "data/{date}.txt",
        "shapes:train",
        "größe",
    ],
)
def test_what_is_right_stays_as_it_is(value):
    assert with_value(RUN, "prompts.train", value).prompts.train == value


def test_a_tilde_in_a_run_file_makes_no_folder_of_that_name(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    file = tmp_path / "run.yaml"
    file.write_text("name: tilde\nrun_root: ~/rft-runs\n")

    assert load_config(file).run_root == f"{tmp_path}/rft-runs"


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("http:/host", r"a server is written http://HOST:PORT"),
        ("https:host", r"a server is written https://HOST:PORT"),
        ("sqlite:///~/mlflow.db", rf"~ is not expanded in a URI: write sqlite:///{Path.home()}/mlflow.db"),
        ("sqlite:///$HOME/mlflow.db", r"\$HOME are not expanded"),
    ],
)
def test_a_tracking_uri_that_leads_elsewhere_is_refused(value, message):
    with pytest.raises(ValueError, match=message):
        with_value(RUN, "tracking.uri", value)


@pytest.mark.parametrize("name", ["a\nb", "x" * 300, "\ud800"])
def test_a_prompt_set_has_a_name_that_pages_and_json_can_hold(tmp_path, name):
    with pytest.raises(ValueError, match="prompt_sets"):
        RunConfig.model_validate({"name": "a", "evaluation": {"prompt_sets": {name: "shapes:train"}}})


SECRETS = [
    ("tracking.uri", "http://alice:s3cr3t@mlflow:5000", "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"),
    ("tracking.uri", "https://s3cr3t@mlflow", "MLFLOW_TRACKING_PASSWORD"),
    ("tracking.uri", "postgresql://alice:s3cr3t@db/mlflow", "the whole MLFLOW_TRACKING_URI, in the environment"),
    ("tracking.uri", "http://mlflow:5000/?token=s3cr3t", "Kubernetes secret"),
    ("reward.scorers.s.url", "http://alice:s3cr3t@judge:8000", "must hold no password or token"),
    ("reward.scorers.s.url", "https://judge/?api_key=s3cr3t", "must hold no password or token"),
]


@pytest.mark.parametrize(("key", "value", "remedy"), SECRETS)
def test_a_password_in_a_run_file_is_refused_with_the_remedy_and_not_shown(tmp_path, key, value, remedy):
    file = tmp_path / "run.yaml"
    file.write_text("name: a\nreward: {weights: {s: 1.0}}\n")

    with pytest.raises(UserError, match=remedy) as caught:
        load_config(file, [f"{key}={value}"])

    assert "s3cr3t" not in str(caught.value)
    assert "***" in str(caught.value)


def test_a_user_name_of_a_database_is_no_secret():
    assert with_value(RUN, "tracking.uri", "postgresql://alice@db/mlflow").tracking.uri.startswith("postgresql://alice")
