import pytest

from reward_finetuning.config import ArtifactError, RetryableError, RunConfig, TrainingError, UserError
from reward_finetuning.config.display import redacted, shown


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("at http://alice:s3cr3t@host:5000/x: no", "at http://***@host:5000/x: no"),
        ("http://alice:s3/cr:3t@host", "http://***@host"),
        ("http://alice:p@s3cr3t@host", "http://***@host"),
        ("('postgresql+psycopg://a:s3cr3t@db/x',)", "('postgresql+psycopg://***@db/x',)"),
        ("GET /x?a=1&token=s3cr3t&b=2", "GET /x?a=1&token=***&b=2"),
        ("https://h/x?X-Goog-Signature=s3cr3t", "https://h/x?X-Goog-Signature=***"),
        ("{'Authorization': 'Bearer s3cr3t.abc'}", "{'Authorization': 'Bearer ***'}"),
        ("Authorization: Basic czNjcjN0", "Authorization: Basic ***"),
    ],
)
def test_secrets_are_not_in_a_redacted_text(text, expected):
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text", ["http://host:5000/x?y=1", "gs://bucket/a@b", "owner/name@abc", "mail a@b.c", "sqlite:////runs/mlflow.db"]
)
def test_what_is_no_secret_stays(text):
    assert redacted(text) == text


@pytest.mark.parametrize("kind", [UserError, ArtifactError, TrainingError, RetryableError])
def test_an_error_of_ours_shows_no_secret_and_is_bounded(kind):
    assert str(kind("MLflow at http://alice:s3cr3t@host failed")) == "MLflow at http://***@host failed"
    assert len(str(kind("x" * 10**6))) < 10_000


def test_a_large_or_nested_value_is_shown_short():
    nested = []
    for _ in range(100):
        nested = [nested] * 10

    for value in (nested, "x" * 10**6, 16**50_000, dict.fromkeys(range(1000), "x" * 1000), -(16**50_000)):
        assert len(shown(value)) < 2000
    assert shown("a") == "'a'"
    assert shown(5) == "5"


def test_text_that_kubeflow_would_substitute_is_carried_as_text():
    config = RunConfig(
        name="a",
        prompts={"train": "{{$.inputs.parameters['config']}}.txt"},
        evaluation={"prompt_sets": {"{{workflow.name}} {{{x": "shapes:train"}},
    )

    text = config.model_dump_json()

    assert "{{" not in text
    assert RunConfig.model_validate_json(text) == config
