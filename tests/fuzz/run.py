"""`make fuzz`: feed every parser with inputs of Hypothesis and of atheris, and print a row for each.

    PYTHONPATH=tests:. python -m fuzz.run --inputs 1000000

An input that is a defect is written to tests/fuzz/corpus/TARGET/, where `make test` replays it; the command then ends
with exit code 1.
"""

from __future__ import annotations

import argparse
import ctypes
import logging
import multiprocessing
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from hashlib import sha256

import atheris
from hypothesis import HealthCheck, Phase, given, seed, settings

logging.getLogger().setLevel(logging.ERROR)  # atheris names every module that it instruments
with atheris.instrument_imports(include=["reward_finetuning.", "reward_finetuning.pipelines.remote.cron"]):
    from fuzz.all_targets import TARGETS
    from fuzz.mutations import inputs
    from fuzz.targets import CORPUS, Target, scratch

HYPOTHESIS_SHARE = 0.2
"""Of the inputs. Hypothesis knows what a nearly valid tree is, and is ten times slower than atheris."""

MOST_BYTES = 2**31
"""Resident memory of a process, PyTorch and pyarrow included."""

SECONDS_OF_A_TARGET = 3000


class Tally(ctypes.Structure):
    """What a process counts, where the parent can read it."""

    _fields_ = (("inputs", ctypes.c_uint64), ("slowest", ctypes.c_double), ("bytes", ctypes.c_uint64))


def main(argv: Sequence[str] | None = None) -> int:
    """Fuzz the targets, two at a time; returns the exit code."""
    options = _options(argv)
    names = options.targets or list(TARGETS)
    num = max(1, options.inputs // len(names))
    scratch()  # before the first fork: all processes share its root
    tallies = multiprocessing.RawArray(Tally, len(names))
    started = time.monotonic()
    waiting = {_fork(TARGETS[name], num, options.seed, tallies[i]): i for i, name in enumerate(names[: options.jobs])}
    failed: list[str] = []
    following = options.jobs
    while waiting:
        pid, status = os.wait()
        index = waiting.pop(pid)
        failed += [names[index]] if status else []
        _print_row(names[index], tallies[index], "DEFECT" if status else "")
        if following < len(names):
            waiting[_fork(TARGETS[names[following]], num, options.seed, tallies[following])] = following
            following += 1
    total, slowest = sum(tally.inputs for tally in tallies), max(tally.slowest for tally in tallies)
    print(
        f"{total} inputs in {time.monotonic() - started:.0f} s, the slowest took {slowest:.2f} s, {len(failed)} defects"
    )
    return 1 if failed else 0


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--inputs", type=int, default=1_000_000, help="of all targets together")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--jobs", type=int, default=2, help="targets at the same time")
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=", ".join(TARGETS))
    return parser.parse_args(argv)


def _print_row(name: str, tally: Tally, remark: str) -> None:
    print(
        f"{name:18} {tally.inputs:8} inputs {tally.slowest:6.3f} s {tally.bytes / 2**20:6.0f} MiB {remark}", flush=True
    )


def _fork(target: Target, num: int, seed_number: int, tally: Tally) -> int:
    """Fuzz a target in a process that has everything imported; returns its id."""
    if pid := os.fork():
        return pid
    log = os.open(scratch() / "log.txt", os.O_CREAT | os.O_WRONLY)
    terminal = os.dup(2)
    os.dup2(log, 1)
    os.dup2(log, 2)
    report = _report(terminal)
    try:
        check = _counted(target, tally, report)
        _with_hypothesis(target, check, max(1, int(num * HYPOTHESIS_SHARE)), seed_number)
        _with_atheris(target, check, num - int(tally.inputs), seed_number)
    except BaseException as error:  # noqa: BLE001 a process must report how it ended
        report(f"{target.name}: {error!r}")
    os._exit(1)  # atheris ends the process itself


def _report(terminal: int) -> Callable[[str], None]:
    return lambda text: (os.write(terminal, text.encode("utf-8", "backslashreplace") + b"\n"), None)[1]


def _counted(target: Target, tally: Tally, report: Callable[[str], None]) -> Callable[[bytes], None]:
    """Run one input; the first that is a defect is kept and ends the process."""

    def check(data: bytes) -> None:
        tally.inputs += 1
        try:
            tally.slowest = max(tally.slowest, target.run(data))
            if tally.inputs % 256 == 1:
                tally.bytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
                assert tally.bytes < MOST_BYTES, f"{tally.bytes} bytes of memory"
        except Exception:  # noqa: BLE001 every other error is what is looked for
            path = CORPUS / target.name / sha256(data).hexdigest()[:12]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
            report(f"{target.name}: {path}\n{traceback.format_exc(limit=-6)}")
            os._exit(1)

    return check


def _with_hypothesis(target: Target, check: Callable[[bytes], None], num: int, seed_number: int) -> None:
    @seed(seed_number)
    @settings(
        max_examples=num,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(inputs(target))
    def each(data: bytes) -> None:
        check(data)

    each()


def _with_atheris(target: Target, check: Callable[[bytes], None], num: int, seed_number: int) -> None:
    folder = scratch() / "seeds"
    folder.mkdir(exist_ok=True)
    for data in (*target.seeds, *(path.read_bytes() for path in target.corpus())):
        (folder / sha256(data).hexdigest()[:12]).write_bytes(data)
    limits = [f"-runs={num}", f"-seed={seed_number}", "-rss_limit_mb=0", "-timeout=60", "-detect_leaks=0"]
    length = max(4096, 2 * max(map(len, target.seeds)))
    atheris.Setup(["fuzz", *limits, f"-max_len={length}", f"-max_total_time={SECONDS_OF_A_TARGET}", str(folder)], check)
    atheris.Fuzz()


if __name__ == "__main__":
    sys.exit(main())
