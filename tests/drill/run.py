"""`make drill`: kill runs at random moments and at named places, resume them, and compare every bit with a quiet run.

    PYTHONPATH=tests:. python -m drill.run --kills 160 --command-kills 40 --seed 1

Prints a row for each run, a table of the kills by step, and the mutations. Exit code 1: a difference was found, or a
mutation was not.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from drill.bits import bits, differences, stored_points, wrong_points
from drill.failpoints import FAILPOINTS, Failpoint, arm
from drill.mutations import MUTATIONS, forget
from drill.processes import Command, Fork, preload
from drill.scene import EPOCHS, Granularity, Place, Scene

KILLS_OF_A_RUN = 10
KILLS_OF_A_COMMAND = 5
AFTER = (0, 0, 0, 1, 1, 1, 2, 2, EPOCHS, EPOCHS)
"""Epochs that are done before a kill may come."""

LATEST_KILL = 3.0
"""Seconds after that, at most."""


@dataclass
class Drill:
    """A drill and what came of it."""

    folder: Path
    random: random.Random
    quiet: dict[Granularity, dict[str, str]] = field(default_factory=dict)
    points: dict[Granularity, Counter[tuple[str, int]]] = field(default_factory=dict)
    kills: Counter[str] = field(default_factory=Counter)
    places: Counter[str] = field(default_factory=Counter)
    after_the_first: int = 0
    mismatches: int = 0

    def scene(self, name: str, place: Place, granularity: Granularity) -> Scene:
        """A new one, whose MLflow file is there already: to make one takes seconds."""
        folder = self.folder / name
        folder.mkdir()
        shutil.copyfile(self.folder / "mlflow.db", folder / "mlflow.db")
        os.environ["RFT_CACHE"] = str(folder / "cache")
        return Scene(folder, name, place, granularity)

    def quiet_run(self, granularity: Granularity) -> None:
        """The bits and the points of a run that nothing happens to."""
        scene = self.scene(f"quiet-{granularity}", "disk", granularity)
        Fork(scene).finish()
        self.quiet[granularity] = bits(scene)
        self.points[granularity] = stored_points(scene.database, scene.run)

    def forked(self, number: int, num_kills: int) -> None:
        """One run of forked attempts, killed so often."""
        place, granularity = _kind(number)
        scene = self.scene(f"forked-{number}", place, granularity)
        for index in range(num_kills):
            after = AFTER[index * len(AFTER) // num_kills]
            failpoint = self.random.choice([None, self._failpoint(place)])
            prepare = None if failpoint is None else partial(arm, failpoint, self.random.choice([1, 1, 2, 3]))
            if failpoint is not None:
                done = self._kill(scene, Fork(scene, prepare), None, failpoint.name)
            else:
                done = self._kill(scene, Fork(scene), after, "random moment")
            if done:
                break
        Fork(scene).finish()
        self._compare(scene)

    def command(self, number: int, num_kills: int) -> None:
        """One run of the real command, killed so often."""
        place, granularity = _kind(number)
        scene = self.scene(f"command-{number}", place, granularity)
        for index in range(num_kills):
            self._kill(scene, Command(scene), min(index * (EPOCHS + 1) // num_kills, EPOCHS - 1), "random moment")
        Command(scene).finish()
        Fork(scene).finish()  # promotes and sends what is left, which `rft run` leaves to others
        self._compare(scene)

    def mutation(self, name: str) -> bool:
        """Whether the comparison sees that a resume forgot something."""
        scene = self.scene(f"mutation-{name.replace(' ', '-')}", "disk", "fused")
        moved = next(each for each in FAILPOINTS if each.name == "latest.json moved")
        killed = Fork(scene, partial(arm, moved, 1))
        assert killed.ended(600)
        assert scene.run.latest().epoch == 1
        Fork(scene, partial(forget, name)).finish()
        found = differences(self.quiet["fused"], bits(scene))
        print(f"mutation {name:20} {'caught: ' + found[0] if found else 'NOT CAUGHT'}", flush=True)
        return bool(found)

    def _failpoint(self, place: Place) -> Failpoint:
        return self.random.choice([each for each in FAILPOINTS if each.place in {None, place}])

    def _kill(self, scene: Scene, process: Fork | Command, after: int | None, where: str) -> bool:
        """Kill a process at a random moment after an epoch, or wait for the kill at its failpoint.

        Returns:
            Whether the run ended before that.
        """
        ended = False
        if after is None:
            assert process.ended(600), "neither killed nor done"
            ended = process.code == 0
            assert ended or process.code == -9, f"code {process.code}:\n{process.log()}"
        else:
            while scene.run.latest().epoch < after and not (ended := process.ended(0.02)):
                pass
            ended = ended or process.ended(self.random.uniform(0, LATEST_KILL))
            if not ended:
                process.kill()
        if ended:
            assert process.code == 0, f"code {process.code}:\n{process.log()}"
            return True
        self.kills[f"{process.step} ({'command' if isinstance(process, Command) else scene.granularity})"] += 1
        self.places[f"{where}, {scene.place}"] += 1
        self.after_the_first += scene.run.latest().epoch >= 1
        return False

    def _compare(self, scene: Scene) -> None:
        found = differences(self.quiet[scene.granularity], bits(scene))
        stored = stored_points(scene.database, scene.run)
        found += wrong_points(self.points[scene.granularity], stored)
        self.mismatches += bool(found)
        verdict = "same bits, every point once" if not found else f"DIFFERS: {', '.join(found[:5])}"
        kills = f"{self.kills.total():4} kills so far"
        print(f"{scene.name:14} {scene.place:4} {scene.granularity:5} {kills}: {verdict}", flush=True)
        if not found:
            shutil.rmtree(scene.folder)


def _kind(number: int) -> tuple[Place, Granularity]:
    kinds: tuple[tuple[Place, Granularity], ...] = (
        ("disk", "fused"),
        ("gcs", "split"),
        ("gcs", "fused"),
        ("disk", "split"),
    )
    return kinds[number % 4]


@contextmanager
def gcs_server() -> Iterator[None]:
    """The GCS server as a process: it outlives the attempts, and no fork inherits its threads."""
    tests = Path(__file__).parents[1]
    server = subprocess.Popen(
        [sys.executable, "-m", "servers.gcs", "0"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=tests,
        env=_environment(tests),
    )
    assert server.stdout is not None
    os.environ["STORAGE_EMULATOR_HOST"] = server.stdout.readline().split()[1].partition("=")[2]
    try:
        yield
    finally:
        server.kill()
        server.wait()


def _environment(tests: Path) -> dict[str, str]:
    return os.environ | {"PYTHONPATH": f"{tests}:{tests.parent}"}


def empty_database(path: Path) -> None:
    """Make an empty MLflow file."""
    from reward_finetuning.tracking.database import ensure_database

    ensure_database(f"sqlite:///{path}")


def main(argv: Sequence[str] | None = None) -> int:
    """Drill; returns the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=160, help="of forked attempts")
    parser.add_argument("--command-kills", type=int, default=40, help="of the command rft run")
    parser.add_argument("--mutations", type=int, default=len(MUTATIONS), help="how many of them")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args(argv)
    started = time.monotonic()
    preload()
    with tempfile.TemporaryDirectory(prefix="rft-drill-") as folder, gcs_server():
        empty_database(Path(folder) / "mlflow.db")
        drill = Drill(Path(folder), random.Random(options.seed))
        for granularity in ("fused", "split"):
            drill.quiet_run(granularity)
        caught = [drill.mutation(name) for name in list(MUTATIONS)[: options.mutations]]
        _repeat(drill.forked, drill, options.kills, KILLS_OF_A_RUN)
        _repeat(drill.command, drill, options.command_kills, KILLS_OF_A_COMMAND)
    for title, counts in (("step", drill.kills), ("place", drill.places)):
        print(f"\nkills by {title}")
        for name, num in sorted(counts.items()):
            print(f"{num:5}  {name}")
    print(
        f"\n{drill.kills.total()} kills, {drill.after_the_first} after epoch 1, {drill.mismatches} mismatches; "
        f"{sum(caught)} of {len(caught)} mutations caught; {time.monotonic() - started:.0f} s"
    )
    return 0 if not drill.mismatches and all(caught) else 1


def _repeat(runs: object, drill: Drill, num_kills: int, of_a_run: int) -> None:
    """Begin runs until so many kills have happened."""
    first, number = drill.kills.total(), 0
    while (left := num_kills - (drill.kills.total() - first)) > 0:
        assert callable(runs)
        runs(number, min(of_a_run, left))
        number += 1


if __name__ == "__main__":
    sys.exit(main())
