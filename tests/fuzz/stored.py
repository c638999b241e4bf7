"""Targets: the files of run directories, models and tasks, which others may have written or altered."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from fuzz.targets import Target, from_file, from_text, scratch
from safetensors.numpy import save

from reward_finetuning.config import RunConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.evaluation.champion import RunSeat
from reward_finetuning.events import EventFile
from reward_finetuning.failures import failure_in
from reward_finetuning.policy.pretrained import folder as model_folder
from reward_finetuning.policy.pretrained.architecture import ARCHITECTURES
from reward_finetuning.policy.pretrained.built_in import BUILT_IN
from reward_finetuning.policy.pretrained.noise_schedule import sampler_grid
from reward_finetuning.records import Sample
from reward_finetuning.steps.attempts.memory import Marks
from reward_finetuning.steps.begin_retraining import Retraining
from reward_finetuning.steps.plan import Plan
from reward_finetuning.storage import Reference, RunDirectory, read_reference, read_references
from reward_finetuning.storage.artifacts.evaluations import read_evaluation, read_part
from reward_finetuning.storage.artifacts.rewards import read_rewards
from reward_finetuning.storage.artifacts.rollouts import read_samples
from reward_finetuning.storage.artifacts.scores import ScoreCache
from reward_finetuning.storage.documents import as_record
from reward_finetuning.storage.manifest import FileEntry, Identity, Manifest, describe_files
from reward_finetuning.storage.reference import weights_sha256
from reward_finetuning.storage.refusal import read_refusal
from reward_finetuning.tracking.journal import history
from reward_finetuning.tracking.registry import read_seat

_IDENTITY = Identity(kind="policy", fingerprint="f", epoch=1)
_FACTS = {"weights_sha256": "ab" * 32, "metrics": {"reward/mean": 0.5}, "seconds": 1.5, "rollouts": "c"}
_POLICY = Reference(name="epochs/0001/policy", epoch=1, checksum="c" * 64, facts=_FACTS)
_WEIGHTS = b"abc"
_MANIFEST = Manifest(
    identity=_IDENTITY, facts=_FACTS, files={"policy.safetensors": FileEntry(size=3, crc32c="364b3fb7")}
)
_JOURNAL = {
    "epoch": 1,
    "timestamp_ms": 1_790_000_000_000,
    "metrics": {"reward/mean": 0.5, "train/loss": 1},
    "images": {"samples": "epochs/0001/report-0/samples.png"},
    "files": {"reports/epoch_00001.html": "epochs/0001/report-0/report.html"},
    "references": {"checkpoints/epoch_00001.json": {"uri": "u"}},
    "tags": {"a": "b"},
    "datasets": [{"name": "n", "digest": "d", "source": "s", "num_prompts": 2, "context": "training"}],
    "evaluation": {
        "metrics": {"eval/train/reward/gain": 0.1},
        "report": "r",
        "pretrained_report": "p",
        "checkpoint": {"epoch": 1, "uri": "u", "checksum": "c", "weights_sha256": "w"},
    },
    "machine": {"hardware": "h", "processes": 1},
}


def _run() -> RunDirectory:
    prompts = scratch() / "few.txt"
    prompts.write_text("a red circle\n", encoding="utf-8")
    evaluation = {"prompt_sets": {"train": str(prompts)}}
    return RunDirectory(RunConfig.model_validate({"name": "run", "run_root": str(scratch()), "evaluation": evaluation}))


def _in_run(name: str, read: Callable[[RunDirectory], object]) -> Callable[[bytes], object]:
    """A parser of a file of the run directory."""
    return from_file(f"run/{name}", lambda _: read(_run()))


def _artifact(kind: str, file: str, read: Callable[[RunDirectory, str], object]) -> Callable[[bytes], object]:
    """A parser of a data file of an artifact whose manifest agrees with it: one that another version wrote."""

    def parse(data: bytes) -> object:
        run = _run()
        name = run.name(1, f"{kind}-0")
        folder = scratch() / "run" / name
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "manifest.json").unlink(missing_ok=True)
        (folder / file).write_bytes(data)
        identity = Identity(kind="scores", fingerprint="f", epoch=1)
        text = Manifest(identity=identity, files=describe_files(folder)).model_dump_json()
        (folder / "manifest.json").write_text(text, encoding="utf-8")
        return read(run, name)

    return parse


def _described(run: RunDirectory) -> object:
    run.check()
    return run.fingerprint if run.describe() else None


def _champion(run: RunDirectory) -> object:
    return RunSeat(run).holder()


def _manifest(run: RunDirectory) -> object:
    (scratch() / "run" / _POLICY.name / "policy.safetensors").write_bytes(_WEIGHTS)
    return run.open(Reference(name="epochs/0001/policy", epoch=1))


def _model_index(path: Path) -> object:
    for part in ("scheduler", "text_encoder", "tokenizer", "unet", "vae"):
        (path.parent / part).mkdir(exist_ok=True)
    model_folder.check_folder(path.parent, "model.source")
    (path.parent / "scheduler" / "scheduler_config.json").write_text("{}", encoding="utf-8")
    return model_folder.scheduler_config(path.parent)


def _schedule(path: Path) -> object:
    (path.parents[1] / "model_index.json").write_text("{}", encoding="utf-8")
    return sampler_grid(model_folder.scheduler_config(path.parents[1]), SamplingConfig(scheduler="from_model"))


def _network(path: Path) -> object:
    config = model_folder.network_config(path.parents[1], "unet")
    return model_folder.check_networks(config, {}, "model", ARCHITECTURES["StableDiffusionPipeline"])


def _events(path: Path) -> object:
    with EventFile(path) as events:
        events._file.seek(0)
        return events.read()


def _table(columns: dict[str, Any], about: dict[str, str] | None = None) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table(columns).replace_schema_metadata(about), sink)
    return sink.getvalue().to_pybytes()


def _json(value: object) -> bytes:
    return json.dumps(value).encode()


def _part() -> bytes:
    tensors = {"reward:reward": np.zeros(2), "features:pixels": np.zeros((2, 3), np.float32)}
    return save(tensors | {"image_size": np.array([8, 8]), "kl": np.zeros((2, 3), np.float32)})


_NUMBERS = RunConfig.model_validate({"name": "run"}).numbers()
_RUN_JSON = _json({"fingerprint": _NUMBERS, "config": {"name": "run"}, "mlflow": None})
_RETRAINING = {"begun": "2026", "source": "s", "num_prompts": 2, "start": "p", "prompts": "q", "warm_start": None}
_REFUSAL = {"pipeline_run": "p", "task": "t", "attempt": 1, "error": "UserError", "message": "m", "time": "2026-11-30"}
_MARK = {"attempt": 1, "pod": "p", "peak": {"used": 1, "limit": 2}, "is_closed": False}
_EVENTS = b'{"kind":"news","text":"t"}\n{"kind":"progress","step":"s","part":"p","done":1,"total":2,"unit":"u"}\n'
_SAMPLES = {
    "sample": [0], "prompt_id": ["a"], "prompt": ["b"], "category": [""], "image_index": [0], "micro_batch": [0],
    "row": [0],
}  # fmt: skip
_EVALUATION = {
    "prompt_set": ["train"], "prompt_id": ["a"], "prompt": ["b"], "category": [""], "image_index": [0],
    "reward:reward": [0.5],
}  # fmt: skip
_ABOUT = {"epoch": "1", "policy": "p", "image_size": "[8, 8]", "micro_batch_size": "4", "parts": '[["p", 0, 1]]'}


def _kept_samples(run: RunDirectory, name: str) -> tuple[Sample, ...]:
    return read_samples(run.store.fetch(name))


TARGETS = [
    Target(
        "latest",
        _in_run("latest.json", lambda run: weights_sha256(run.latest())),
        (_json(_POLICY.model_dump()),),
        "json",
    ),
    Target("champion", _in_run("champion.json", _champion), (_json(_POLICY.model_dump()),), "json"),
    Target("run-description", _in_run("run.json", _described), (_RUN_JSON,), "json"),
    Target("journal", _in_run("journal/0001-train.json", history), (_json(_JOURNAL),), "json"),
    Target(
        "manifest",
        _in_run("epochs/0001/policy/manifest.json", _manifest),
        (_MANIFEST.model_dump_json().encode(),),
        "json",
    ),
    Target("refusal", _in_run("refusal.json", lambda run: read_refusal(run.store)), (_json(_REFUSAL),), "json"),
    Target(
        "memory-mark",
        _in_run("attempts/sample/1.json", lambda run: Marks(run.store, "attempts/sample", "gpu").check("sample", 2)),
        (_json(_MARK),),
        "json",
    ),
    Target(
        "registry-seat",
        _in_run("seat.json", lambda run: read_seat(run.store, "seat.json")),
        (_json({"sequence": 1, "version": "1", "settled": True}),),
        "json",
    ),
    Target(
        "retraining",
        _in_run(
            "retrainings/k.json", lambda run: as_record(Retraining, run.store.read_json("retrainings/k.json"), "k")
        ),
        (_json({**_RETRAINING, "key": "k"}),),
        "json",
    ),
    Target(
        "reference",
        from_file("reference.json", lambda path: read_reference(str(path))),
        (_POLICY.model_dump_json().encode(),),
        "json",
    ),
    Target(
        "references",
        from_text(lambda text: read_references(["[" + text + "]"])),
        (_POLICY.model_dump_json().encode(),),
        "json",
    ),
    Target("plan", from_text(Plan.parse), (b'{"first": 1, "last": 2, "epochs": 3}',), "json"),
    Target("failure", from_text(failure_in), (b'{"error": "UserError", "message": "m", "rank": "0"}',), "json"),
    Target("events", from_file("events.jsonl", _events), (_EVENTS,), "lines"),
    Target(
        "model-index",
        from_file("model/model_index.json", _model_index),
        ((BUILT_IN / "model_index.json").read_bytes(),),
        "json",
    ),
    Target(
        "noise-schedule",
        from_file("scheduled/scheduler/scheduler_config.json", _schedule),
        ((BUILT_IN / "scheduler" / "scheduler_config.json").read_bytes(),),
        "json",
    ),
    Target(
        "network-config",
        from_file("networked/unet/config.json", _network),
        ((BUILT_IN / "unet" / "config.json").read_bytes(),),
        "json",
    ),
    Target(
        "scores",
        _artifact("scores", "scores.parquet", lambda run, _: ScoreCache(run, 1, "scores").get(b"")),
        (_table({"key": pa.array([b"k" * 32], pa.binary(32)), "score": [0.5]}),),
        "binary",
    ),
    Target(
        "rewards",
        _artifact("rewards", "rewards.parquet", lambda run, name: read_rewards(run.store.fetch(name))),
        (_table({"sample": [0, 1], "shapes": [0.5, 1.0], "reward": [0.5, 1.0]}),),
        "binary",
    ),
    Target("rollout-samples", _artifact("rollouts", "samples.parquet", _kept_samples), (_table(_SAMPLES),), "binary"),
    Target(
        "evaluation",
        _artifact("report", "samples.parquet", lambda run, name: read_evaluation(run.store, name)),
        (_table(_EVALUATION, _ABOUT),),
        "binary",
    ),
    Target(
        "evaluation-part",
        _artifact("evaluated", "part.safetensors", lambda run, name: read_part(run.store.fetch(name))),
        (_part(),),
        "binary",
    ),
]
