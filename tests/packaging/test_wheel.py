"""The sdist and the wheel, built and used without the repository.

The environment is a new one that has the built wheel alone. Its dependencies are those of the environment that runs the
tests, which a .pth file adds behind the wheel, and the build uses the setuptools of that environment: nothing is
downloaded.
"""

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

pytestmark = pytest.mark.xdist_group("wheel")  # in one worker: it is built once

ROOT = Path(__file__).parents[2]
SOURCES = ("LICENSE", "README.md", "pyproject.toml", "components", "pipelines", "reward_finetuning")
TRAP = 'raise RuntimeError("the packages of the working directory were imported")\n'


def build(kind, source, to):
    """An sdist or a wheel of the folder `source`."""
    program = f"import sys; from setuptools import build_meta; print(build_meta.build_{kind}(sys.argv[1]))"
    command = [sys.executable, "-c", program, str(to)]
    done = subprocess.run(command, cwd=source, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return to / done.stdout.splitlines()[-1]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The wheel of the sdist of a copy of the sources."""
    source, dist = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("dist")
    for name in SOURCES:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / name, symlinks=True)
        else:
            shutil.copyfile(ROOT / name, source / name)
    shutil.rmtree(source / "reward_finetuning.egg-info", ignore_errors=True)
    with tarfile.open(build("sdist", source, dist)) as sdist:
        sdist.extractall(dist, filter="data")
    (unpacked,) = (path for path in dist.iterdir() if path.is_dir())
    return build("wheel", unpacked, dist)


@pytest.fixture(scope="module")
def rft(wheel, tmp_path_factory):
    """Runs the installed `rft` in a folder that has packages of the same names."""
    folder, project = tmp_path_factory.mktemp("environment"), tmp_path_factory.mktemp("project")
    venv.create(folder)
    python = folder / "bin" / "python"
    install = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", str(wheel)]
    subprocess.run(install, check=True)
    (packages,) = (folder / "lib").glob("python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n", encoding="utf-8")
    for name in ("components", "pipelines", "reward_finetuning"):
        (project / name).mkdir()
        (project / name / "__init__.py").write_text(TRAP, encoding="utf-8")
    environment = {
        name: value for name, value in os.environ.items() if name not in {"PYTHONPATH", "MLFLOW_TRACKING_URI"}
    }

    def run(*arguments):
        command = [str(folder / "bin" / "rft"), *arguments]
        done = subprocess.run(
            command,
            cwd=project,
            env=environment | {"OMP_NUM_THREADS": "1"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    run.project = project
    return run


def files_of(root):
    """Names of the files in the installed package, where the top-level folders lie below reward_finetuning."""
    above = {"components": "reward_finetuning/", "pipelines": "reward_finetuning/", "reward_finetuning": ""}
    return {
        f"{prefix}{path.relative_to(root).as_posix()}"
        for name, prefix in above.items()
        for path in (root / name).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.slow
def test_the_wheel_of_the_sdist_has_every_file_of_the_packages(wheel):
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())

    assert sorted(files_of(ROOT) - packed) == []
    assert {name.split("/")[0] for name in packed} == {
        "reward_finetuning", f"{'-'.join(wheel.name.split('-')[:2])}.dist-info",
    }  # fmt: skip


@pytest.mark.slow
def test_a_run_is_trained_reported_and_exported_beside_packages_of_the_same_names(rft):
    (rft.project / "few.txt").write_text("a red circle\na blue square\n", encoding="utf-8")
    settings = {
        "loop.epochs": 1, "loop.evaluate_every": 1,
        "prompts.prompts_per_epoch": 2, "sampling.images_per_prompt": 2, "sampling.num_steps": 2,
        "evaluation.prompt_sets": "{heldout: few.txt, train: few.txt}", "evaluation.images_per_prompt": 1,
    }  # fmt: skip
    small = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]

    assert "shapes-prdp" in rft("runs")
    trained = rft("run", "shapes-prdp", *small)
    report = rft("report", "shapes-prdp", *small)
    exported = rft("export", "shapes-prdp", *small, "--to", "policy")

    assert "epoch 1: reward" in trained
    assert "page  file://" in report
    assert "epoch 1 of shapes-prdp" in exported
    assert (rft.project / "runs" / "shapes-prdp" / "report.html").is_file()
    assert (rft.project / "policy" / "README.md").is_file()


@pytest.mark.slow
def test_a_run_file_is_written_checked_and_compiled(rft):
    rft("init", "mine", "--model", "shapes")

    assert "mine on " in rft("estimate", "mine.yaml")
    assert "40 epochs" in rft("compile", "mine.yaml", "--target", "local")
    assert "retrain" in rft("compile", "shapes-retrain", "--target", "local")
    assert rft("schema", "run").startswith("{")
