"""What is in the images, and what is not."""

import json
import re
import subprocess
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BUILT = ("light", "trainer")
PACKAGES = (
    "from importlib.metadata import distributions as d; print(*{f'{x.name}=={x.version}' for x in d()}, sep='\\n')"
)


def normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def locked(image):
    lines = (ROOT / "images" / image / "requirements.lock").read_text().splitlines()
    pins = (line.split()[0].split("==") for line in lines if not line.startswith("#"))
    return {(normal(name), version) for name, version in pins}


@pytest.fixture(scope="module", params=BUILT)
def image(request):
    return request.param


def test_an_image_holds_its_lock_and_nothing_else(image, images, docker_output):
    printed = docker_output("run", "--rm", "--network=none", images[image], "python", "-c", PACKAGES)

    held = {(normal(name), version) for name, _, version in (line.partition("==") for line in printed.split())}

    others = {name for name, _ in held - locked(image)}
    assert not locked(image) - held
    assert others == ({"reward-finetuning"} if image == "light" else {"reward-finetuning", "torch"})


def test_the_sbom_lists_every_package_of_the_lock_with_its_licence(image):
    sbom = json.loads((ROOT / "build" / f"sbom-{image}.json").read_text())

    listed = {(normal(each["name"]), each["version"]) for each in sbom["components"]}

    assert sbom["bomFormat"] == "CycloneDX"
    assert not locked(image) - listed
    assert sum("licenses" in each for each in sbom["components"]) > 0.9 * len(listed)


def test_nothing_runs_in_the_place_of_a_component_and_nobody_is_root(image, images, docker_output):
    (about,) = json.loads(docker_output("image", "inspect", images[image]))
    labels = about["Config"]["Labels"]
    version = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]

    assert not about["Config"]["Entrypoint"]
    assert about["Config"]["User"] == "10001:10001"
    assert labels["org.opencontainers.image.version"] == version
    assert labels["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert re.match(r"[0-9a-f]{40}", labels["org.opencontainers.image.revision"])


def test_no_weights_are_inside_but_the_built_in_models(image, images, docker_output):
    suffixes = ["-name", "*.safetensors", "-o", "-name", "*.pt", "-o", "-name", "*.bin", "-o", "-name", "*.ckpt"]
    command = ["find", "/opt", "/tmp", "(", *suffixes, ")", "-size", "+100k"]
    found = docker_output("run", "--rm", "--network=none", images[image], *command)

    assert found.split()
    assert all(re.search("/reward_finetuning/shapes/(flow_)?weights/", path) for path in found.split())


def test_the_light_image_has_no_torch(images, docker_output):
    code = "from importlib.util import find_spec; print(find_spec('torch'), find_spec('diffusers'))"

    assert docker_output("run", "--rm", "--network=none", images["light"], "python", "-c", code).split() == ["None"] * 2


@pytest.mark.parametrize("dockerfile", sorted(ROOT.glob("images/*/Dockerfile")), ids=lambda path: path.parent.name)
def test_hadolint_has_nothing_to_say(dockerfile):
    done = subprocess.run(["hadolint", dockerfile], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout


def test_the_compose_file_is_one():
    command = ["check-jsonschema", "--builtin-schema", "vendor.compose-spec", ROOT / "infra" / "local" / "compose.yaml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stdout
