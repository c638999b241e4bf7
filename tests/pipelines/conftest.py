"""Compiled packages, read back from their YAML, and services on loopback that take them."""

import json
import re
import sys
import threading
from dataclasses import dataclass
from pathlib import Path

import pytest
import yaml

from reward_finetuning.config import load_config
from reward_finetuning.pipelines.graphs.package import compile_package
from reward_finetuning.pipelines.targets.cluster import Cluster
from reward_finetuning.pipelines.targets.roles import ROLE_OF_COMPONENT
from reward_finetuning.pipelines.targets.services import TargetName

ROOT = Path(__file__).parents[2]
RUN = ROOT / "pipelines" / "runs" / "shapes-prdp.yaml"

ROLES = {component.replace("_", "-"): role for component, role in ROLE_OF_COMPONENT.items()}


@dataclass(frozen=True)
class Package:
    """The YAML documents of a package; every copy of a component counts."""

    path: Path
    documents: list

    @property
    def root(self):
        return self.documents[0]["root"]

    @property
    def constants(self):
        """Constant arguments of the pipeline's first task: the config, and the digests of its inputs."""
        return constants_of(self.documents[0])

    def containers(self):
        """(component's name, its container), a pair a copy."""
        executors = self.documents[0]["deploymentSpec"]["executors"]
        return [(self._name(label), spec["container"]) for label, spec in executors.items()]

    def pods(self):
        """(component's name, what only Kubernetes reads), a pair a copy."""
        (_, platform) = self.documents
        executors = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
        return [(self._name(label), spec) for label, spec in executors.items()]

    def tasks(self):
        """(name, task) of every task that runs a container, in every graph."""
        components = self.documents[0]["components"]
        dags = [self.root["dag"], *(component["dag"] for component in components.values() if "dag" in component)]
        every = [(name, task) for dag in dags for name, task in dag["tasks"].items()]
        return [(name, task) for name, task in every if "executorLabel" in components[task["componentRef"]["name"]]]

    @staticmethod
    def by_role(pairs, read):
        """What `read` finds for each role; all copies of all its components must agree."""
        found = {}
        for name, spec in pairs:
            assert found.setdefault(ROLES[name], read(spec)) == read(spec), name
        return found

    @staticmethod
    def _name(label):
        return re.sub(r"(-\d+)*$", "", label.removeprefix("exec-"))


def constants_of(spec):
    """Constant arguments of the first task of a pipeline spec: name -> text."""
    tasks = spec["root"]["dag"]["tasks"]
    (first,) = (tasks[name] for name in ("next-epochs", "begin-retraining", "plan-evaluation") if name in tasks)
    parameters = first["inputs"]["parameters"]
    return {key: each["runtimeValue"]["constant"] for key, each in parameters.items() if "runtimeValue" in each}


@pytest.fixture
def compiled_config():
    """A function: pipeline spec -> the tree of the config that it was compiled for."""
    return lambda spec: json.loads(constants_of(spec)["config"])


@pytest.fixture
def package(tmp_path):
    """A factory: (target, overrides, run file, pools of the cluster file) -> the compiled package."""

    def compiled(target, *overrides, run=RUN, pools=None):
        cluster = Cluster.model_validate({"pools": pools or {}})
        path = compile_package(load_config(run, overrides), TargetName(target), tmp_path / "package.yaml", cluster)
        return Package(path, list(yaml.safe_load_all(path.read_text())))

    return compiled


@pytest.fixture(scope="session")
def google_key(tmp_path_factory):
    """A key file for Application Default Credentials."""
    from servers.services import write_google_key

    return write_google_key(tmp_path_factory.mktemp("google") / "key.json")


@pytest.fixture(params=["kfp", "vertex"])
def service(request, work, tmp_path, monkeypatch, google_key):
    """Each service on loopback, its jobs done by `work`."""
    from servers.services import loopback

    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(google_key))
    monkeypatch.delenv("KFP_TOKEN", raising=False)
    server, settings = loopback(request.param, work, tmp_path)
    with server:
        yield settings()


class Work:
    """What jobs do, one after the other: each function returns an error text, or nothing; beyond them, nothing."""

    def __init__(self):
        self.plan = []
        self.jobs = []
        self.released = threading.Event()

    def __call__(self, job):
        self.jobs.append(job)
        step = self.plan.pop(0) if self.plan else None
        return (step() if step else None) or ""

    def wait(self):
        """A step that ends when the test says so."""
        self.released.wait(60)


@pytest.fixture
def work():
    work = Work()
    yield work
    work.released.set()


@dataclass
class Done:
    """How a command ended."""

    code: int
    out: str
    err: str


@pytest.fixture
def rft(monkeypatch, capsys):
    """The command, in this process: importing kfp anew each time would take seconds."""
    from reward_finetuning.pipelines.cli.app import main

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["rft", *map(str, arguments)])
        with pytest.raises(SystemExit) as ended:
            main()
        told = capsys.readouterr()
        return Done(ended.value.code or 0, told.out, told.err)

    monkeypatch.setenv("COLUMNS", "200")
    return call


@pytest.fixture
def run_file(tmp_path, run_config):
    """A factory of run files that pods could follow."""

    def make(**changes):
        remote = {"run_root": "gs://bucket/runs", "evaluation": {"prompt_sets": {"train": "shapes:heldout"}}}
        path = tmp_path / "run.yaml"
        path.write_text(yaml.safe_dump(run_config(**(remote | changes)).model_dump(mode="json")), encoding="utf-8")
        return path

    return make


@pytest.fixture
def to_service(service, tmp_path):
    """Options that lead to the service."""
    path = tmp_path / "cluster.yaml"
    path.write_text(
        yaml.safe_dump(service.cluster.model_dump(mode="json", exclude_none=True, exclude={"pools"})), encoding="utf-8"
    )
    return ["--target", service.target, "--cluster", path]
