import json
import re
import tomllib
from pathlib import Path

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.local.containers import IMAGE_USER
from reward_finetuning.pipelines.targets.images import IMAGE_OF_ROLE, IMAGES_LOCK, image_of

ROOT = Path(__file__).parents[3]
DOCKERFILES = sorted(ROOT.glob("images/*/Dockerfile"))
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]


@pytest.fixture
def lock(tmp_path, monkeypatch):
    path = tmp_path / "images.lock"
    monkeypatch.setenv(IMAGES_LOCK, str(path))
    return path


def test_without_a_lock_images_have_their_local_names(lock):
    assert image_of("train") == f"reward-finetuning-trainer:{PROJECT['version']}"
    built = {f"reward-finetuning-{path.parent.name}" for path in DOCKERFILES}
    assert {image_of(role).partition(":")[0] for role in IMAGE_OF_ROLE} == built - {"reward-finetuning-scorer"}


def test_the_lock_decides_as_far_as_it_goes(lock):
    digest = "registry.example/rft/reward-finetuning-trainer@sha256:" + 64 * "a"
    lock.write_text(json.dumps({"trainer": digest}), encoding="utf-8")

    assert image_of("sample") == image_of("export") == digest
    assert image_of("light").startswith("reward-finetuning-light:")


@pytest.mark.parametrize("text", ["light: x", "[]", '{"light": 1}'])
def test_a_lock_that_is_none_is_refused(lock, text):
    lock.write_text(text, encoding="utf-8")

    with pytest.raises(UserError, match=r"images\.lock is no lock of images"):
        image_of("light")


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.parent.name)
def test_dockerfiles_agree_with_each_other_and_with_the_project(dockerfile):
    text = dockerfile.read_text(encoding="utf-8")
    (base,) = re.findall(r"^ARG BASE_IMAGE=(.*)", text, re.MULTILINE)
    installs = re.findall(r"pip install .*?(?=\n[A-Z]|&&)", text, re.DOTALL)

    assert all(f"ARG BASE_IMAGE={base}" in other.read_text(encoding="utf-8") for other in DOCKERFILES)
    assert re.fullmatch(r"python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", base)
    assert installs
    assert all("--require-hashes" in each or "--no-index" in each for each in installs)
    assert f"USER {IMAGE_USER}:{IMAGE_USER}" in text
    assert "ENTRYPOINT [" not in text


@pytest.mark.parametrize("image", ["light", "trainer"])
def test_locks_hold_the_versions_of_constraints_by_hash(image):
    constraints = set((ROOT / "constraints.txt").read_text(encoding="utf-8").split())
    lines = (ROOT / "images" / image / "requirements.lock").read_text(encoding="utf-8").splitlines()[1:]

    assert len(lines) > 50
    for line in lines:
        requirement, sha256 = line.split(" --hash=sha256:")
        assert re.fullmatch(r"[0-9a-f]{64}", sha256)
        assert requirement in constraints or requirement.startswith("setuptools==")


@pytest.mark.parametrize(
    "file", ["torch-cuda.lock", "torch-cpu.lock", "scorer/requirements.lock", "scorer/packages.lock"]
)
def test_torch_and_the_packages_of_the_scorer_are_locked_by_hash(file):
    lines = (ROOT / "images" / file).read_text(encoding="utf-8").splitlines()

    locked = [line for line in lines if not line.startswith("#")]
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+( --hash=sha256:[0-9a-f]{64})+", line) for line in locked)


@pytest.mark.parametrize(("file", "version"), [("torch-cuda.lock", ""), ("torch-cpu.lock", "+cpu")])
def test_torch_is_locked_in_the_version_of_the_project(file, version):
    text = (ROOT / "images" / file).read_text(encoding="utf-8")

    (torch,) = re.findall(r"^(torch==\S+) ", text, re.MULTILINE)
    assert torch.removesuffix(version) in PROJECT["optional-dependencies"]["train"]
    assert ("nvidia-" in text) == (version == "")
