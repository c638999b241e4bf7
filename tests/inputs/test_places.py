import pytest

from reward_finetuning.config import EvaluationRun, RunConfig
from reward_finetuning.config.externals import Kind, external_settings
from reward_finetuning.inputs import Place, absolute_paths, bucket_uri_of, path_of, place_of


def setting_of(key, value):
    """The setting of a run in which it has this value."""
    tree = {"name": "a", "reward": {"weights": {"x": 1.0}, "scorers": {"x": {}}}}
    *sections, leaf = key.split(".")
    section = tree
    for part in sections:
        section = section.setdefault(part, {})
    section[leaf] = value
    (setting,) = (each for each in external_settings(RunConfig.model_validate(tree)) if each.key == key)
    return setting


@pytest.mark.parametrize(
    ("key", "value", "place", "path"),
    [
        ("run_root", "runs", Place.MACHINE, "runs"),
        ("run_root", "gs://bucket/runs", Place.BUCKET, None),
        ("run_root", "s3://bucket/runs", Place.BUCKET, None),
        ("model.source", "shapes", Place.INSTALLED, None),
        ("model.source", "./shapes", Place.MACHINE, "shapes"),
        ("model.source", "owner/name", Place.HUB, None),
        ("model.source", "here/name", Place.MACHINE, "here/name"),
        ("model.source", "/models/sd", Place.MACHINE, "/models/sd"),
        ("model.adapter", "owner/name", Place.MACHINE, "owner/name"),
        ("prompts.train", "shapes:train", Place.INSTALLED, None),
        ("prompts.train", "animals", Place.INSTALLED, None),
        ("prompts.train", "hpdv2:data/hpd", Place.MACHINE, "data/hpd"),
        ("prompts.train", "pickapic:gs://bucket/data", Place.BUCKET, None),
        ("prompts.train", "hf:owner/name[train].text", Place.HUB, None),
        ("prompts.train", "prompts/{date}.txt", Place.MACHINE, "prompts/{date}.txt"),
        ("reward.scorers.x.source", "shapes", Place.MACHINE, "shapes"),
        ("reward.scorers.x.source", "owner/name", Place.HUB, None),
        ("reward.scorers.x.use", "module:function", Place.INSTALLED, None),
        ("reward.scorers.x.url", "http://127.0.0.1:8000", Place.NETWORK, None),
        ("tracking.uri", "http://mlflow:5000", Place.NETWORK, None),
        ("tracking.uri", "sqlite:///mlflow.db", Place.MACHINE, "mlflow.db"),
        ("tracking.uri", "mlruns", Place.MACHINE, "mlruns"),
    ],
)
def test_a_value_leads_to_a_place(tmp_path, monkeypatch, key, value, place, path):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "here" / "name").mkdir(parents=True)
    (tmp_path / "shapes").mkdir()
    setting = setting_of(key, value)

    assert place_of(setting) is place
    assert (None if path_of(setting) is None else str(path_of(setting))) == path


@pytest.mark.parametrize(
    ("key", "value", "uri"),
    [
        ("run_root", "s3://bucket/runs", "s3://bucket/runs"),
        ("prompts.train", "hpdv2:s3://bucket/data", "s3://bucket/data"),
        ("prompts.train", "hpdv2:data", None),
        ("model.source", "owner/name", None),
    ],
)
def test_what_is_in_a_bucket_has_a_uri(key, value, uri):
    assert bucket_uri_of(setting_of(key, value)) == uri


def test_absolute_paths_keep_formats_and_schemes_and_leave_the_rest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    config = RunConfig.model_validate(
        {
            "name": "a",
            "prompts": {"train": "pickapic:data/train-*.parquet"},
            "evaluation": {"prompt_sets": {"a": "ppod:colour", "b": "own.txt"}},
            "tracking": {"uri": "sqlite:///mlflow.db"},
        }
    )

    changed = absolute_paths(config)

    assert changed.run_root == f"{tmp_path}/runs"
    assert changed.model.source == "shapes"
    assert changed.prompts.train == f"pickapic:{tmp_path}/data/train-*.parquet"
    assert changed.evaluation.prompt_sets == {"a": "ppod:colour", "b": f"{tmp_path}/own.txt"}
    assert changed.tracking.uri == f"sqlite:///{tmp_path}/mlflow.db"
    assert changed.numbers() == config.numbers()


def test_only_settings_of_the_kinds_asked_for_become_absolute(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    evaluation = EvaluationRun.model_validate(
        {"name": "e", "policies": [{}, {"run": "runs/one"}], "model": {"source": "./sd"}}
    )

    changed = absolute_paths(evaluation, frozenset({Kind.RUNS}))

    assert changed.run_root == f"{tmp_path}/runs"
    assert [policy.run for policy in changed.policies] == [None, f"{tmp_path}/runs/one"]
    assert changed.model.source == "./sd"
