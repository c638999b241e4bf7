"""infra/local/compose.yaml: images that cannot change under a name."""

import re
from pathlib import Path

import pytest
import yaml

LOCAL = Path(__file__).parents[2] / "infra" / "local"
SERVICES = yaml.safe_load((LOCAL / "compose.yaml").read_text("utf-8"))["services"]
DIGEST = re.compile(r"@sha256:[0-9a-f]{64}$")


@pytest.mark.parametrize("service", sorted(set(SERVICES) - {"mlflow", "scorer"}))
def test_an_image_of_a_registry_is_pinned_by_digest(service):
    assert DIGEST.search(SERVICES[service]["image"])


def test_mlflow_does_not_start_without_a_digest_from_the_environment():
    example = dict(
        line.split("=", 1)
        for line in (LOCAL / ".env.example").read_text("utf-8").splitlines()
        if not line.startswith("#")
    )

    assert SERVICES["mlflow"]["image"].startswith("${MLFLOW_IMAGE:?")
    # Without the 64 digits that a user adds, the engine refuses the reference.
    assert example["MLFLOW_IMAGE"].endswith("-full@sha256:")


def test_the_scorer_is_built_on_this_machine():
    assert SERVICES["scorer"]["image"].startswith("${SCORER_IMAGE:-reward-finetuning-scorer:")
