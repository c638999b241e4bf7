from pathlib import Path

import jsonschema
import pytest

from reward_finetuning.config.parsing import read_yaml
from reward_finetuning.pipelines.cli.files.schema import FileKind, schema, schema_of

ROOT = Path(__file__).parents[4]
FILES = {
    FileKind.RUN: sorted((ROOT / "pipelines" / "runs").glob("*.yaml")),
    FileKind.EVALUATION: sorted((ROOT / "pipelines" / "runs" / "evaluations").glob("*.yaml")),
    FileKind.CLUSTER: sorted((ROOT / "infra").glob("cluster*.yaml")),
}


@pytest.mark.parametrize("kind", FileKind)
def test_the_published_schema_is_current(kind, tmp_path):
    schema(kind, tmp_path / "new.json")

    published = (ROOT / "docs" / f"{kind}.schema.json").read_text("utf-8")

    assert (tmp_path / "new.json").read_text("utf-8") == published, (
        f"rft schema {kind} --output docs/{kind}.schema.json"
    )


@pytest.mark.parametrize(("kind", "path"), [(kind, path) for kind, paths in FILES.items() for path in paths], ids=str)
def test_every_file_of_the_repository_is_valid(kind, path):
    validator = jsonschema.Draft202012Validator(schema_of(kind))

    assert [f"{each.json_path}: {each.message}" for each in validator.iter_errors(read_yaml(path))] == []


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (FileKind.RUN, {"name": "a", "sampling": {"stpes": 3}}),
        (FileKind.RUN, {"name": "a", "sampling": {"num_steps": 0}}),
        (FileKind.RUN, {"name": "a", "objective": {"name": "pdrp"}}),
        (FileKind.EVALUATION, {"name": "a", "policies": []}),
        (FileKind.CLUSTER, {"pools": {"trian": {}}}),
    ],
)
def test_a_wrong_key_or_value_is_marked(kind, wrong):
    jsonschema.Draft202012Validator.check_schema(schema_of(kind))

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(wrong, schema_of(kind))


def test_settings_carry_their_documentation():
    steps = schema_of(FileKind.RUN)["$defs"]["SamplingConfig"]["properties"]["num_steps"]

    assert steps["description"] == "T, denoising steps per image."
    assert (steps["minimum"], steps["maximum"], steps["default"]) == (1, 1000, 50)
