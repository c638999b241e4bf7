"""Pictures a second of our scorers and of the official call, on the same weights.

.venv/bin/python benchmarks/rewards/speed.py FOLDER --official-python .venv-scorer/bin/python [--images 64] [--rounds 3]

FOLDER is what random_weights.py wrote. Both run in processes of their own, in turn, and say their peak memory.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from importlib import import_module
from pathlib import Path

import numpy as np

from reward_finetuning.config.sections.reward import ScorerConfig

PROMPTS = 8
SIDE = 512
PACKAGES = {"ours": "reward_finetuning.rewards.models", "official": "reward_finetuning.rewards.official"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--scorers", nargs="+", default=["hpsv2", "image_reward"])
    parser.add_argument("--official-python", default=os.environ.get("RFT_OFFICIAL_PYTHON"))
    parser.add_argument("--images", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=3, help="how often both are measured, in turn")
    parser.add_argument("--warm-up", type=int, default=2, help="pictures scored before the clock starts")
    parser.add_argument("--measure", choices=PACKAGES, help="measure one of the two in this process")
    arguments = parser.parse_args()
    if arguments.measure:
        print(json.dumps(measure(arguments)))
        return
    if not arguments.official_python:
        parser.error("--official-python is needed: the Python of the scorer environment")
    for scorer in arguments.scorers:
        report(scorer, arguments)


def measure(arguments: argparse.Namespace) -> dict[str, float]:
    """Load, warm up, and time one scorer here."""
    scorer = arguments.scorers[0]
    began = time.perf_counter()
    settings = ScorerConfig(source=str(arguments.folder.absolute() / scorer), device="cpu")
    score = import_module(f"{PACKAGES[arguments.measure]}.{scorer}").load(settings)
    loaded = time.perf_counter()
    images, prompts = pictures(arguments.images)
    if arguments.warm_up:
        score(images[: arguments.warm_up], [f"warm up {i}" for i in range(arguments.warm_up)])
    started, computing = time.perf_counter(), time.process_time()
    scores = score(images, prompts)
    seconds, computed = time.perf_counter() - started, time.process_time() - computing
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    return {"load": loaded - began, "seconds": seconds, "cpu": computed, "peak": peak, "mean": float(scores.mean())}


def pictures(number: int) -> tuple[np.ndarray, list[str]]:
    """[N, 512, 512, 3] pictures, as many of each of 8 prompts."""
    images = np.random.default_rng(0).integers(0, 256, (number, SIDE, SIDE, 3), dtype=np.uint8)
    return images, [f"a photo of {1 + i * PROMPTS // number} cats on a table" for i in range(number)]


def report(scorer: str, arguments: argparse.Namespace) -> None:
    """Measure both in turn; print a row each."""
    pythons = {"official": arguments.official_python, "ours": sys.executable}
    rounds: dict[str, list[dict[str, float]]] = {"official": [], "ours": []}
    for _ in range(arguments.rounds):
        for which, python in pythons.items():
            rounds[which].append(in_process(which, python, scorer, arguments))
    for which, results in rounds.items():
        # Other processes stretch the wall clock; the time that this one computed is what they disturb least.
        wall, cpu = (
            ", ".join(f"{arguments.images / each[clock]:.3g}" for each in results) for clock in ("seconds", "cpu")
        )
        peak, load = max(each["peak"] for each in results) / 1e9, min(each["load"] for each in results)
        print(f"{scorer} {which}: {wall} images/s; {cpu} a CPU second; load {load:.1f} s; peak {peak:.2f} GB")
    wall, cpu = (
        min(each[clock] for each in rounds["official"]) / min(each[clock] for each in rounds["ours"])
        for clock in ("seconds", "cpu")
    )
    means = ", ".join(f"{rounds[which][0]['mean']:.6f}" for which in rounds)
    print(f"{scorer}: {wall:.2f} times as fast, {cpu:.2f} times by CPU time; mean scores {means}", flush=True)


def in_process(which: str, python: str, scorer: str, arguments: argparse.Namespace) -> dict[str, float]:
    options = ["--scorers", scorer, "--images", str(arguments.images), "--warm-up", str(arguments.warm_up)]
    command = [python, __file__, str(arguments.folder), "--measure", which, *options]
    environment = {k: v for k, v in os.environ.items() if which == "ours" or k != "PYTHONPATH"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    if done.returncode:
        sys.exit(f"{scorer} {which} failed:\n{done.stderr}")
    return json.loads(done.stdout.splitlines()[-1])


if __name__ == "__main__":
    main()
