import os
import shutil
import signal
import sys
from collections import Counter
from contextlib import contextmanager
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest

if find_spec("hypothesis"):  # the environment of `make lint-infra` has none
    from hypothesis import HealthCheck, settings

    # On a busy machine an example may take any time: that is no defect.
    settings.register_profile("busy machine", deadline=None, suppress_health_check=[HealthCheck.too_slow])
    settings.load_profile("busy machine")

# Two cores: one thread a test process keeps runs reproducible and pytest-xdist useful.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")


@pytest.fixture(autouse=True)
def _no_tracking_server(monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session", autouse=True)
def _cheap_stack():
    """The name of kfp's caller without the source lines of the whole stack.

    kfp reads them at every setting of a task, for an error message. In a test process, which has thousands of modules
    and frames without a file, Python searches all modules for each such frame: a compilation takes 10 s instead of 1.
    """
    if find_spec("kfp") is None:  # as in the environments of lint-infra and test-ocr
        yield
        return
    from kfp.dsl import pipeline_task

    def stack():
        return [(), (None, None, 0, sys._getframe(2).f_code.co_name)]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(pipeline_task, "inspect", SimpleNamespace(stack=stack))
        yield


@pytest.fixture(scope="session")
def run_config_in():
    """A factory of the smallest real run in a folder: the built-in model, 2 prompts x 3 images, T = 3."""
    from reward_finetuning.config import RunConfig

    def make(folder, **changes):
        tree = {
            "name": "tiny",
            "run_root": str(folder / "runs"),
            "prompts": {"train": "shapes:train", "prompts_per_epoch": 2},
            "sampling": {"num_steps": 3, "guidance_scale": 3.0, "images_per_prompt": 3, "micro_batch_size": 4},
            "training": {"cells_per_batch": 8, "learning_rate": 1e-4},
            "objective": {"name": "prdp", "kl_weight": 1e-3, "clip_range": 1e-3},
            "evaluation": {"prompt_sets": {"train": str(_few_prompts(folder))}, "images_per_prompt": 1},
            "promotion": {"min_gain": 1e-9},  # sets of two prompts: any gain counts
            "loop": {"epochs": 2, "evaluate_every": 2},
        }
        for key, value in changes.items():
            merged = isinstance(value, dict) and key in tree and "name" not in value  # a named objective is whole
            tree[key] = {**tree[key], **value} if merged else value
        return RunConfig.model_validate(tree)

    return make


@pytest.fixture
def run_config(run_config_in, tmp_path):
    """`run_config_in` of the test's own folder."""
    return partial(run_config_in, tmp_path)


def _few_prompts(folder: Path) -> Path:
    path = folder / "evaluation.txt"
    path.write_text("a red circle\na blue square\n", encoding="utf-8")
    return path


@pytest.fixture
def transfers():
    """`with transfers() as count:` counts host arrays made tensors, and waits of the host for a number of a tensor."""
    import torch
    from torch.overrides import TorchFunctionMode
    from torch.utils._python_dispatch import TorchDispatchMode

    @contextmanager
    def counting():
        count = Counter()

        class Tables(TorchFunctionMode):
            def __torch_function__(self, func, types, args=(), kwargs=None):
                count["tables"] += func in (torch.as_tensor, torch.tensor, torch.from_numpy)
                return func(*args, **(kwargs or {}))

        class Waits(TorchDispatchMode):
            def __torch_dispatch__(self, func, types, args=(), kwargs=None):
                count["waits"] += func in (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
                return func(*args, **(kwargs or {}))

        with Tables(), Waits():
            yield count

    return counting


@pytest.fixture
def heeds_ctrl_c():
    """What a shell starts in the background ignores Ctrl-C, and so do tests that run there, and what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def gs(tmp_path, monkeypatch):
    """A server of Google Cloud Storage with gs://bucket, for this process and for those that it starts."""
    from servers.gcs import GcsServer

    with GcsServer() as server:
        _select(server, tmp_path, monkeypatch)
        yield server


@pytest.fixture
def s3(tmp_path, monkeypatch):
    """A server of S3 with s3://bucket, for this process and for those that it starts."""
    from servers.s3 import S3Server

    with S3Server() as server:
        _select(server, tmp_path, monkeypatch)
        yield server


@pytest.fixture(params=["gs", "s3"])
def bucket(request):
    """A server of each kind."""
    return request.getfixturevalue(request.param)


def _select(server, tmp_path, monkeypatch):
    monkeypatch.setenv("RFT_CACHE", str(tmp_path / "cache"))
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="session")
def _migrated_store(tmp_path_factory):
    """MLflow makes a new sqlite file by dozens of migrations: once a session is enough."""
    from mlflow.tracking import MlflowClient

    path = tmp_path_factory.mktemp("store") / "mlflow.db"
    MlflowClient(f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture
def mlflow_store(tmp_path, _migrated_store):
    """An empty MLflow store where runs of `run_config` expect theirs."""
    (tmp_path / "runs").mkdir(exist_ok=True)
    shutil.copyfile(_migrated_store, tmp_path / "runs" / "mlflow.db")


@pytest.fixture
def nudged_run(run_config):
    """A factory of runs that look finished: weights are nudged, not trained, and rewards are given, not scored."""
    import numpy as np

    from reward_finetuning.evaluation.reports import GRID, PAGE, report_name, settings_digest
    from reward_finetuning.policy.load import load_policy
    from reward_finetuning.policy.restore import WEIGHTS
    from reward_finetuning.policy.save import save_tensors
    from reward_finetuning.prompts import read_prompts, samples_of
    from reward_finetuning.records import EvaluatedSamples
    from reward_finetuning.report.comparison import as_metrics, compare
    from reward_finetuning.report.pictures.sample_grid import write_grid
    from reward_finetuning.steps.next_epochs import begin
    from reward_finetuning.storage import Reference, RunDirectory
    from reward_finetuning.storage.artifacts.evaluations import Part, write_evaluation, write_pictures
    from reward_finetuning.storage.reference import weights_sha256

    def policy(run, epoch):
        def write(folder):
            loaded = load_policy(run.config.model, run.config.sampling, seed=run.config.seed)
            noise = np.random.default_rng(epoch)
            changed = {
                name: weight.detach() + 0.02 * weight.new_tensor(noise.standard_normal(weight.shape))
                for name, weight in loaded.trainable().items()
            }
            return {"weights_sha256": save_tensors(changed, folder / WEIGHTS), "metrics": {}}

        name = run.name(epoch, "policy")
        before = weights_sha256(run.latest())
        run.advance(Reference.to(name, run.commit(name, run.identity("policy", epoch, before), write)))

    def samples(run, epoch, gain, others):
        members = [
            (name, sample)
            for name, source in run.config.evaluation.prompt_sets.items()
            for sample in samples_of(read_prompts(source).prompts, run.config.evaluation.images_per_prompt)
        ]
        spread = np.random.default_rng(0).standard_normal(len(members))  # the images', whoever draws them
        own = 0.01 * np.random.default_rng(epoch + 1).standard_normal(len(members))
        return EvaluatedSamples(
            epoch=epoch,
            policy=weights_sha256(run.latest()) or "pretrained",
            prompt_sets=tuple(name for name, _ in members),
            prompt_ids=tuple(sample.prompt.id for _, sample in members),
            prompts=tuple(sample.prompt.text for _, sample in members),
            categories=tuple(sample.prompt.category for _, sample in members),
            image_indices=tuple(sample.image_index for _, sample in members),
            rewards={"reward": spread + own + gain} | {name: spread + own + change for name, change in others.items()},
            image_size=(8, 8),
            images=np.full((len(members), 8, 8, 3), 40 * epoch, np.uint8),
        )

    def report(run, before, after):
        def write(folder):
            size = run.config.sampling.micro_batch_size
            batches = [after.images[first : first + size] for first in range(0, len(after.images), size)]
            for number, pictures in enumerate(batches):
                write_pictures(folder, number, pictures)
            write_evaluation(folder, after, (Part(report_name(run, after.epoch), 0, len(batches)),), size)
            write_grid(after.images, after.prompts, 4, folder / GRID)
            (folder / PAGE).write_text("<title>page</title>", encoding="utf-8")
            return {"metrics": as_metrics(compare(before, after))}

        identity = run.identity("report", after.epoch, weights_sha256(run.latest()), settings_digest(run))
        run.commit(report_name(run, after.epoch), identity, write)

    def make(gains, others=None, **changes):
        """`gains`: epoch -> by how much its rewards exceed the pretrained model's; `others`: the same, by scorer."""
        columns = others or {}
        run = RunDirectory(run_config(**changes))
        begin(run)
        pretrained = samples(run, 0, 0.0, dict.fromkeys(columns, 0.0))
        report(run, pretrained, pretrained)
        for epoch, gain in gains.items():
            policy(run, epoch)
            report(
                run, pretrained, samples(run, epoch, gain, {name: change[epoch] for name, change in columns.items()})
            )
        return run

    return make
