"""Compare this project with TRL's DDPOTrainer and the pipeline of diffusers, and with its own goals.

    make bench                  # at most 20 minutes on two idle cores; writes benchmarks/cpu/HARDWARE_DATE.json and .md
    make bench OPTIONS=--quick  # small and once: shows that every measurement runs

The built-in model, LoRA of rank 4, float32, one thread a side. Each side is a process; the driver asks them in turn.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import commands
import memory
from comparison_page import page
from goals import NETWORK, best_batch
from jobs import IMAGES_PER_PROMPT, STEPS, Job
from workers import FOLDER, Worker, worker

ROOT = FOLDER.parents[1]
MODEL = ROOT / "reward_finetuning" / "shapes" / "weights"
TRL_PYTHON = ROOT / ".venv-trl" / "bin" / "python"
OURS, TRL = SIDES = ("ours", "TRL")
PARTS = ("speed", "compiled", "memory", "commands")
Arms = Mapping[str, tuple[str, Job]]
"""Name of an arm -> side and job."""

Start = Callable[[str, str], AbstractContextManager[Worker]]
"""(side, part of the measurement) -> a fresh worker."""

Result = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Scale:
    """How much is measured."""

    images: int
    images_of_10_updates: int
    batches: tuple[int, ...]
    repeats: int
    updates: int
    memory_images: tuple[int, ...]
    memory_steps: tuple[int, ...]
    command_repeats: int
    run_repeats: int


WHOLE = Scale(64, 32, (8, 32, 64), 5, 10, (128, 512), (10, 50), 5, 2)
QUICK = Scale(16, 8, (8, 16), 1, 2, (16,), (2, 4), 1, 1)


def parser() -> argparse.ArgumentParser:
    """The command-line options."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--quick", action="store_true", help="small and once: shows that every measurement runs")
    options.add_argument("--output", type=Path, default=FOLDER, help="folder of the JSON file and the page")
    options.add_argument("--trl-python", type=Path, default=TRL_PYTHON, help="interpreter of an environment with TRL")
    options.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="parts to measure")
    return options


def sampling_arms(scale: Scale) -> Arms:
    """Images drawn and decoded."""
    arms: dict[str, tuple[str, Job]] = {}
    for batch in scale.batches:
        job = Job("sampling", scale.images, batch)
        arms |= {f"{OURS}, {batch}": (OURS, job), f"{TRL}, {batch}": (TRL, job)}
        arms[f"diffusers, {batch}"] = (OURS, replace(job, variant="stock"))
    largest = Job("sampling", scale.images, scale.batches[-1])
    for variant in ("no-reference", "all-references"):
        arms[f"{OURS}, {variant}, {scale.batches[-1]}"] = (OURS, replace(largest, variant=variant))
    return arms


def training_arms(scale: Scale) -> Arms:
    """One update of all cells."""
    arms: dict[str, tuple[str, Job]] = {}
    for batch in scale.batches:
        job = Job("training", scale.images, scale.batches[-1], batch)
        arms |= {f"{OURS}, {batch}": (OURS, job), f"{TRL}, {batch}": (TRL, job)}
    return arms


def compiled_arms(scale: Scale, result: Result) -> Arms:
    """One update of all cells, at each side's best batch where that was measured."""
    best = {side: best_batch(result["training"], side) if "training" in result else scale.batches[-1] for side in SIDES}
    own, other = (Job("training", scale.images, scale.batches[-1], best[side]) for side in SIDES)
    return {OURS: (OURS, own), TRL: (TRL, other), f"{OURS}, compiled": (OURS, replace(own, variant="compiled"))}


def epoch_arms(scale: Scale, result: Result, updates: int) -> Arms:
    """Draw, score, train, save: each side at its best batches."""
    images = scale.images if updates == 1 else scale.images_of_10_updates

    def job(side: str) -> Job:
        sample_batch, train_batch = (min(images, best_batch(result[group], side)) for group in ("sampling", "training"))
        return Job("epoch", images, sample_batch, train_batch, updates)

    arms = {OURS: (OURS, job(OURS)), TRL: (TRL, job(TRL)), NETWORK: (OURS, replace(job(OURS), kind="network"))}
    arms[f"{OURS}, ddpo-least"] = (OURS, replace(job(OURS), variant="ddpo-least"))
    # From the second update on, PRDP needs one pass where a batch holds the cells of a prompt.
    size = max(job(OURS).train_batch, IMAGES_PER_PROMPT * STEPS) if updates > 1 else job(OURS).train_batch
    arms[f"{OURS}, prdp"] = (OURS, replace(job(OURS), variant="prdp", train_batch=size))
    return arms


def alternate(workers: Mapping[str, Worker], arms: Arms, repeats: int) -> dict[str, list[dict[str, Any]]]:
    """Costs of each arm, one per round; a first round warms up. Each round begins with another arm."""
    costs: dict[str, list[dict[str, Any]]] = {name: [] for name in arms}
    names = list(arms)
    for number in range(1 + repeats):
        first = number % len(names)
        for name in names[first:] + names[:first]:
            side, job = arms[name]
            spent = workers[side].measure(job)
            print(f"{job.kind}, {name}: {spent['cpu']:.2f} s CPU", flush=True)
            if number:
                costs[name].append(spent)
    return costs


def measure(parts: Sequence[str], scale: Scale, start: Start, result: Result) -> Iterator[None]:
    """Add each measurement to `result`, and yield after each."""
    if {"speed", "compiled"} & set(parts):
        with start(OURS, "speed") as ours, start(TRL, "speed") as trl:
            workers = {OURS: ours, TRL: trl}
            if "speed" in parts:
                yield from _measure_speed(scale, workers, result)
            if "compiled" in parts:
                result["training, compiled"] = alternate(workers, compiled_arms(scale, result), scale.repeats)
                yield
    if "memory" in parts:
        yield from _measure_memory(scale, start, result)
    if "commands" in parts:
        result["commands"] = commands.measure(scale.command_repeats, scale.run_repeats)
        yield


def _measure_speed(scale: Scale, workers: Mapping[str, Worker], result: Result) -> Iterator[None]:
    """Sampling, training, epochs, and the share of the network."""
    result["sampling"] = alternate(workers, sampling_arms(scale), scale.repeats)
    yield
    result["training"] = alternate(workers, training_arms(scale), scale.repeats)
    yield
    result["epoch, 1 update"] = alternate(workers, epoch_arms(scale, result, 1), scale.repeats)
    yield
    few = max(1, scale.repeats - 2)
    result["epoch, 10 updates"] = alternate(workers, epoch_arms(scale, result, scale.updates), few)
    yield
    _, job = epoch_arms(scale, result, 1)[OURS]
    share = replace(job, kind="network_share")
    result["network share"] = alternate(workers, {OURS: (OURS, share)}, scale.repeats)
    yield


def _measure_memory(scale: Scale, start: Start, result: Result) -> Iterator[None]:
    """The highest memory of two epochs of the built-in model, and of an epoch's training by images and T."""
    job = Job("epoch", scale.images, 8, 8)
    spent = {}
    for side in (OURS, TRL):
        with start(side, "memory") as fresh:
            spent[side] = [fresh.measure(job) for _ in range(2)]
    for name, key in (("memory of an epoch", "memory"), ("memory of the process", "process")):
        result[name] = {side: max(each[key] for each in epochs) for side, epochs in spent.items()}
    yield
    result["memory by images and T"] = list(memory.measure(scale.memory_images, scale.memory_steps))
    yield


def processor() -> str:
    """Vendor, family and model of the processor, whose name a virtual machine may hide."""
    lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines() if sys.platform == "linux" else []
    fields = {key.strip(): value.strip() for key, _, value in (line.partition(":") for line in lines)}
    return "-".join(fields[key] for key in ("vendor_id", "cpu family", "model") if key in fields) or platform.machine()


def machine(trl_python: Path) -> dict[str, Any]:
    """What the figures depend on."""
    packages = ("torch", "diffusers", "transformers", "accelerate", "peft")
    code = (
        "import json, sys; from importlib.metadata import version; "
        "print(json.dumps({name: version(name) for name in sys.argv[1:]}))"
    )

    def versions(python: Path | str, names: Sequence[str]) -> dict[str, str]:
        done = subprocess.run([str(python), "-c", code, *names], check=True, capture_output=True, text=True)
        numbers: dict[str, str] = json.loads(done.stdout)
        return numbers

    return {
        "hardware": f"{os.cpu_count()}-cores-{processor()}",
        "date": datetime.now(UTC).date().isoformat(),
        "python": platform.python_version(),
        "load": os.getloadavg()[0],
        OURS: versions(sys.executable, packages),
        TRL: versions(trl_python, ("trl", *packages)),
    }


def main() -> None:
    """Measure, and write the JSON file and the page."""
    options = parser().parse_args()
    scale = QUICK if options.quick else WHOLE
    result: Result = {"machine": machine(options.trl_python), "quick": options.quick}
    stem = f"{result['machine']['hardware']}_{result['machine']['date']}{'_quick' * options.quick}"
    options.output.mkdir(parents=True, exist_ok=True)
    path = (options.output / stem).with_suffix(".json")
    sides = {OURS: (sys.executable, "our_side"), TRL: (options.trl_python, "trl_side")}
    with TemporaryDirectory() as folder:

        def start(side: str, part: str) -> AbstractContextManager[Worker]:
            python, program = sides[side]
            return worker(python, program, MODEL, Path(folder, part, program), path.with_suffix(".log"))

        for _ in measure(options.only, scale, start, result):
            path.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
            path.with_suffix(".md").write_text(page(result), encoding="utf-8")
    path.with_suffix(".log").unlink(missing_ok=True)
    print(path.with_suffix(".md"))


if __name__ == "__main__":
    main()
