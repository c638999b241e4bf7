"""Targets: what a person writes. Run, evaluation and cluster files, overrides, schedules, prompt sets."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import yaml
from fuzz.targets import Target, from_file, from_text, scratch

from reward_finetuning.config import load_config, load_run_or_evaluation, parse_config, parse_run_or_evaluation
from reward_finetuning.config.load import apply_override, validated
from reward_finetuning.config.options import with_options
from reward_finetuning.config.run import RunConfig
from reward_finetuning.inputs.digests import check_compiled
from reward_finetuning.pipelines.remote.cron import parse_cron
from reward_finetuning.pipelines.remote.schedules import check_name
from reward_finetuning.pipelines.targets.cluster import load_cluster
from reward_finetuning.prompts import hpdv2, pickapic, pointer, text
from reward_finetuning.prompts.prompt_set import collect
from reward_finetuning.prompts.tables import Table

ROOT = Path(__file__).parents[2]
RUNS = ROOT / "pipelines" / "runs"
RUN_FILE = (RUNS / "shapes-prdp.yaml").read_bytes()
TREE = yaml.safe_load(RUN_FILE)
FULL = RunConfig.model_validate({"name": "full", "prompts": {"train": "animals"}}).model_dump_json().encode()


def _override(override: str) -> object:
    tree: dict[str, Any] = json.loads(json.dumps(TREE))
    apply_override(tree, override)
    return validated(RunConfig, tree, "run.yaml")


def _cron(expression: str) -> object:
    cron = parse_cron(expression)
    return cron.for_kfp(), cron.for_vertex("UTC"), cron.next_after(datetime(2026, 11, 30, tzinfo=UTC))


def _prompts(form: Any) -> Any:
    return lambda path: collect(str(path), str(path), form.entries(form.locate(path)))


def _inputs(digests: str) -> object:
    return check_compiled(digests, {"model.digest": "m"}, _config())


def _config() -> RunConfig:
    prompts = scratch() / "evaluation.txt"
    if not prompts.exists():
        prompts.write_text("a red circle\n", encoding="utf-8")
    return RunConfig.model_validate({"name": "inputs", "evaluation": {"prompt_sets": {"train": str(prompts)}}})


def _parquet() -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(pa.table({"caption": ["a cat", "a dog", None], "label_0": [0.0, 1.0, 0.5]}), sink)
    return sink.getvalue().to_pybytes()


_JSON_LINES = b'{"prompt": "a cat", "id": 7, "category": "animals", "split": "train"}\n{"prompt": "a dog"}\n'
_BENCHMARK = json.dumps([{"prompt": "a cat", "human_preference": [0, 1]}, "a dog"]).encode()
_DIGESTS = b'{"model.digest": "m"}'

TARGETS = [
    Target("run-file", from_file("run.yaml", load_config), (RUN_FILE, FULL), "json"),
    Target(
        "evaluation-file",
        from_file("evaluation.yaml", load_run_or_evaluation),
        ((RUNS / "evaluations" / "shapes-evaluation.yaml").read_bytes(),),
        "json",
    ),
    Target(
        "cluster-file",
        from_file("cluster.yaml", load_cluster),
        ((ROOT / "infra" / "cluster.example.yaml").read_bytes(),),
        "json",
    ),
    Target("config-text", from_text(parse_config), (FULL,), "json"),
    Target("options", from_text(partial(with_options, RunConfig(name="a"))), (b"seed=1 'name=b'",), "json"),
    Target("evaluation-text", from_text(parse_run_or_evaluation), (FULL,), "json"),
    Target(
        "override",
        from_text(_override),
        (b"training.learning_rate=1e-4", b"objective={name: ppod, kl_weight: 2}", b"reward.weights.shapes=1.5"),
        "text",
    ),
    Target("cron", from_text(_cron), (b"30 2 * * 1-5", b"*/15 0 1,15 JAN-MAR SUN", b"0 0 29 2 *"), "text"),
    Target("schedule-name", from_text(check_name), (b"weekly-retraining",), "text"),
    Target("inputs", from_text(_inputs), (_DIGESTS,), "json"),
    Target("prompts-txt", from_file("prompts.txt", _prompts(text)), (b"a cat\na dog\n", b"\xef\xbb\xbfa\r\nb"), "text"),
    Target("prompts-jsonl", from_file("prompts.jsonl", _prompts(text)), (_JSON_LINES,), "lines"),
    Target(
        "prompts-csv", from_file("prompts.csv", _prompts(Table("prompt"))), (b"prompt,split\na cat,train\n",), "text"
    ),
    Target("prompts-hpdv2", from_file("train.json", _prompts(hpdv2)), (_BENCHMARK,), "json"),
    Target("prompts-parquet", from_file("train-0-of-1.parquet", _prompts(pickapic)), (_parquet(),), "binary"),
    Target(
        "prompts-pointer",
        from_file("current.pointer", lambda path: pointer.follow(str(path), date(2026, 11, 30))),
        (b"prompts/2026-11-30.txt\n",),
        "text",
    ),
]
