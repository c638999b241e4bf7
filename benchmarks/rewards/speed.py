"""Pictures a second of our scorers and of the official call, on the same weights.

.venv/bin/python benchmarks/rewards/speed.py FOLDER --official-python .venv-scorer/bin/python [--images 64] [--rounds 3]

FOLDER is what random_weights.py wrote. Both run in separate processes, in turn, which report their peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import import_module
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.protocol import Scorer

PROMPTS = 8
SIDE = 512
PACKAGES = {"ours": "reward_finetuning.rewards.models", "official": "reward_finetuning.rewards.official"}


@dataclass(frozen=True)
class Measurement:
    """One process that loads a scorer and scores all images."""

    load: float  # s until the weights are loaded
    seconds: float  # s of wall clock for the scores
    cpu: float  # s of CPU time for the scores
    peak: float  # bytes of memory
    mean: float  # of the scores


class Arguments(argparse.Namespace):
    folder: Path
    scorers: list[str]
    official_python: str | None
    images: int
    rounds: int
    warm_up: int
    measure: str | None


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scorers", nargs="+", default=["hpsv2", "image_reward"])
    parser.add_argument("--official-python", default=os.environ.get("RFT_OFFICIAL_PYTHON"))
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="how often both are measured, in turn")
    parser.add_argument("--warm-up", type=int, default=2, help="pictures scored before the clock starts")
    parser.add_argument("--measure", choices=PACKAGES, help="measure one of the two in this process")
    arguments = parser.parse_args(namespace=Arguments())
    if arguments.measure:
        print(json.dumps(asdict(measure(arguments.measure, arguments))))
        return
    if not arguments.official_python:
        parser.error("--official-python is needed: the Python of the scorer environment")
    pythons = {"official": arguments.official_python, "ours": sys.executable}
    for scorer in arguments.scorers:
        report(scorer, pythons, arguments)


def measure(side: str, arguments: Arguments) -> Measurement:
    """Load, warm up, and time the first scorer in this process."""
    scorer = arguments.scorers[0]
    start = time.perf_counter()
    settings = ScorerConfig(source=str(arguments.folder.absolute() / scorer), device="cpu")
    score: Scorer = import_module(f"{PACKAGES[side]}.{scorer}").load(settings)
    load = time.perf_counter() - start
    images, prompts = pictures(arguments.images)
    if arguments.warm_up:
        score(images[: arguments.warm_up], [f"warm up {i}" for i in range(arguments.warm_up)])
    wall_start, cpu_start = time.perf_counter(), time.process_time()
    scores = score(images, prompts)
    seconds, cpu = time.perf_counter() - wall_start, time.process_time() - cpu_start
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return Measurement(load, seconds, cpu, peak, float(scores.mean()))


def pictures(number: int) -> tuple[NDArray[np.uint8], list[str]]:
    """[N, 512, 512, 3] pictures, as many of each of 8 prompts."""
    images = np.random.default_rng(0).integers(0, 256, (number, SIDE, SIDE, 3), dtype=np.uint8)
    return images, [f"a photo of {1 + i * PROMPTS // number} cats on a table" for i in range(number)]


def report(scorer: str, pythons: Mapping[str, str], arguments: Arguments) -> None:
    """Measure both in turn; print one row for each side."""
    measurements: dict[str, list[Measurement]] = {side: [] for side in pythons}
    for _ in range(arguments.rounds):
        for side, python in pythons.items():
            measurements[side].append(in_process(side, python, scorer, arguments))
    for side, rounds in measurements.items():
        # Other processes stretch the wall clock; they disturb this process's CPU time the least.
        wall = rates(arguments.images, [measurement.seconds for measurement in rounds])
        cpu = rates(arguments.images, [measurement.cpu for measurement in rounds])
        peak = max(measurement.peak for measurement in rounds) / 1e9
        load = min(measurement.load for measurement in rounds)
        print(f"{scorer} {side}: {wall} images/s; {cpu} a CPU second; load {load:.1f} s; peak {peak:.2f} GB")
    official, ours = measurements["official"], measurements["ours"]
    wall_ratio = min(measurement.seconds for measurement in official) / min(measurement.seconds for measurement in ours)
    cpu_ratio = min(measurement.cpu for measurement in official) / min(measurement.cpu for measurement in ours)
    means = f"{official[0].mean:.6f}, {ours[0].mean:.6f}"
    print(
        f"{scorer}: {wall_ratio:.2f} times as fast, {cpu_ratio:.2f} times by CPU time; mean scores {means}", flush=True
    )


def rates(images: int, seconds: Sequence[float]) -> str:
    """Images per second in each round."""
    return ", ".join(f"{images / duration:.3g}" for duration in seconds)


def in_process(side: str, python: str, scorer: str, arguments: Arguments) -> Measurement:
    """Measure in a new process."""
    options = ["--scorers", scorer, "--images", str(arguments.images), "--warm-up", str(arguments.warm_up)]
    command = [python, __file__, str(arguments.folder), "--measure", side, *options]
    environment = {k: v for k, v in os.environ.items() if side == "ours" or k != "PYTHONPATH"}
    process = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if process.returncode:
        sys.exit(f"{scorer} {side} failed:\n{process.stderr}")
    return Measurement(**json.loads(process.stdout.splitlines()[-1]))


if __name__ == "__main__":
    main()
