"""Measure this project on one GPU within a time budget: sampling, training, memory, precision, what pays.

    python benchmarks/gpu/bench_gpu.py                  # 9 minutes; writes benchmarks/gpu/DEVICE_DATE.json and .md
    python benchmarks/gpu/bench_gpu.py --tiny           # every measurement with tiny networks, on a CPU too

Weights are random, so no network is needed. The JSON file is written after each measurement. A measurement that fails
is recorded with its error, one that does not fit into the budget as not run.
"""

from __future__ import annotations

import argparse
import gc
import json
import platform
import sys
import time
import traceback
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from gpu_measurements import DDPO, PRDP, Case, sampling, training, transfers
from gpu_page import page
from random_pipelines import PUBLISHED, TINY
from stopwatch import matrix_rate
from variants import VARIANTS, against_cpu, variant

FOLDER = Path(__file__).parent
Measurement = tuple[str, str, Callable[[], dict[str, Any]]]


def parser() -> argparse.ArgumentParser:
    """The command-line options."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--tiny", action="store_true", help="tiny networks: shows that every measurement runs")
    options.add_argument("--minutes", type=float, default=9.0, help="no measurement starts later")
    options.add_argument("--device", default="cuda" if torch.cuda.is_available() else "cpu")
    options.add_argument("--output", type=Path, default=FOLDER, help="folder of the JSON file and the page")
    return options


def plan(device: torch.device, *, tiny: bool) -> Iterator[Measurement]:
    """Group, name and function of each measurement, the most valuable first."""
    models = TINY if tiny else PUBLISHED
    size = 256 if tiny else 8192
    for dtype, tf32 in ((torch.float32, False), (torch.float32, True), (torch.bfloat16, False)):
        name = "TF32" if tf32 else str(dtype).removeprefix("torch.")
        yield "matrix rate", name, partial(_rate, device, dtype, tf32=tf32, size=size)

    def case(family: str, side: int = 0, batch: int = 0, **changes: Any) -> Case:
        model = models[family]
        return Case(family, model, device, side or model.sides[0], batch or model.batches[0], **changes)

    yield "correctness", "sd15 against the CPU", partial(against_cpu, case("sd15"))
    precisions: tuple[dict[str, Any], ...] = ({"dtype": "bfloat16"}, {}, {"tf32": True})
    for changes in precisions:
        first = case("sd15", **changes)
        yield "sampling", first.name, partial(sampling, first)
        yield "training", f"{first.name}, PRDP", partial(training, first, PRDP)
    yield "training", f"{case('sd15').name}, DDPO", partial(training, case("sd15"), DDPO)
    yield "host and device", "sd15", partial(transfers, case("sd15"))
    for name in VARIANTS:
        yield "variants", name, partial(variant, case("sd15"), name)
    for family in ("sdxl", "sd35-medium"):
        for side in models[family].sides:
            large = case(family, side, dtype="bfloat16")
            yield "sampling", large.name, partial(sampling, large)
            yield "training", f"{large.name}, PRDP", partial(training, large, PRDP)
    for batch in models["sd15"].batches[1:]:
        more = case("sd15", batch=batch, dtype="bfloat16")
        yield "sampling", more.name, partial(sampling, more)
    whole = case("sd15", trainable="full", dtype="bfloat16")
    yield "training", f"{whole.name}, PRDP", partial(training, whole, PRDP)


def _rate(device: torch.device, dtype: torch.dtype, *, tf32: bool, size: int) -> dict[str, Any]:
    return {"per_second": matrix_rate(device, dtype, tf32=tf32, size=size)}


def measure(call: Callable[[], dict[str, Any]], device: torch.device) -> dict[str, Any]:
    """The record of one measurement, or its error."""
    start = time.monotonic()
    try:
        record = call()
    except (RuntimeError, ValueError, TypeError, AttributeError, ImportError) as error:
        traceback.print_exc()
        record = {"error": f"{type(error).__name__}: {error}"[:500]}
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
    return record | {"seconds": round(time.monotonic() - start, 1)}


def machine(device: torch.device) -> dict[str, Any]:
    """What the figures depend on."""
    return {
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else platform.processor() or "CPU",
        "date": datetime.now(UTC).date().isoformat(),
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "peft")},
        "cuda": torch.version.cuda,
        "python": platform.python_version(),
    }


def main() -> int:
    """Measure, and write the JSON file and the page; returns the number of measurements that failed."""
    options = parser().parse_args()
    device = torch.device(options.device)
    deadline = time.monotonic() + 60 * options.minutes
    result: dict[str, Any] = {"machine": machine(device), "tiny": options.tiny, "measurements": []}
    stem = f"{result['machine']['device'].replace(' ', '-')}_{result['machine']['date']}{'_tiny' * options.tiny}"
    options.output.mkdir(parents=True, exist_ok=True)
    path = options.output / f"{stem}.json"
    for group, name, call in plan(device, tiny=options.tiny):
        if time.monotonic() > deadline:
            record: dict[str, Any] = {"not_run": f"{options.minutes:g} minutes were over"}
        else:
            record = measure(call, device)
        result["measurements"].append({"group": group, "name": name, **record})
        print(f"{group}, {name}: {json.dumps(record)}", flush=True)
        path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    path.with_suffix(".md").write_text(page(result), encoding="utf-8")
    print(path.with_suffix(".md"))
    return sum("error" in record for record in result["measurements"])


if __name__ == "__main__":
    sys.exit(main())
