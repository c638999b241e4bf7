"""Attempts in processes: a fork that has everything imported, and the real command; both end by SIGKILL."""

from __future__ import annotations

import ctypes
import mmap
import os
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any

import yaml
from drill.failpoints import replace
from drill.scene import Scene, attempt

from reward_finetuning.config import RetryableError

_STEPS_OF_THE_FUSED_LOOP = {
    "sample": ("reward_finetuning.steps.sample", "draw_shard"),
    "reward": ("reward_finetuning.steps.reward", "score_rollouts"),
    "train": ("reward_finetuning.steps.train_epoch", "train_on"),
    "evaluate": ("reward_finetuning.steps.evaluate", "evaluate_policy"),
}


def preload() -> None:
    """Import what an attempt needs, so that forks begin at once."""
    for module in _HEAVY:
        import_module(module)


_HEAVY = (
    "PIL.PngImagePlugin",
    "diffusers.pipelines.stable_diffusion.pipeline_stable_diffusion",
    "mlflow.store.tracking.sqlalchemy_store",
    "mlflow.tracking",
    "reward_finetuning.steps.promote",
    "reward_finetuning.steps.run_epochs",
    "reward_finetuning.tracking.table",
    "transformers.models.clip.modeling_clip",
)


class Fork:
    """An attempt in a forked process."""

    def __init__(self, scene: Scene, prepare: Callable[[], None] | None = None) -> None:
        """Begin it; `prepare` changes the process first."""
        scene.folder.mkdir(parents=True, exist_ok=True)
        self._step = mmap.mmap(-1, 32)
        self._log = scene.folder / f"{scene.name}.log"
        self.pid = os.fork()
        if self.pid == 0:
            self._run(scene, prepare)

    @property
    def step(self) -> str:
        """The step that it is in, or was killed in."""
        return bytes(self._step[:]).rstrip(b"\0").decode()

    def ended(self, seconds: float) -> bool:
        """Wait for at most so long; whether it ended."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.code = os.waitstatus_to_exitcode(status)
                return True
            time.sleep(0.005)
        return False

    def kill(self) -> None:
        """SIGKILL."""
        os.kill(self.pid, signal.SIGKILL)
        _, status = os.waitpid(self.pid, 0)
        self.code = os.waitstatus_to_exitcode(status)

    def finish(self) -> None:
        """Wait for its end, which must be a success."""
        if not self.ended(600):
            self.kill()
        assert self.code == 0, f"the attempt ended with code {self.code}:\n{self.log()}"

    def log(self) -> str:
        """The end of what it printed."""
        return self._log.read_text(errors="replace")[-3000:]

    def _enter(self, step: str) -> None:
        self._step[:] = step.encode().ljust(32, b"\0")

    def _run(self, scene: Scene, prepare: Callable[[], None] | None) -> None:
        code = 1
        try:
            ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG: none is left if the drill is stopped
            log = os.open(self._log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
            os.dup2(log, 1)
            os.dup2(log, 2)
            if scene.granularity == "fused":
                for step, (module, function) in _STEPS_OF_THE_FUSED_LOOP.items():
                    replace(module, function, self._announced(step))
            if prepare is not None:
                prepare()
            attempt(scene, self._enter)
            code = 0
        except RetryableError:
            traceback.print_exc()
            code = RetryableError.exit_code
        except BaseException:  # noqa: BLE001 the log says what it was
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code)

    def _announced(self, step: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
        def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
            def function(*args: Any, **named: Any) -> Any:
                self._enter(step)
                return original(*args, **named)

            return function

        return wrapped


class Command:
    """`rft run`, with every process that it starts."""

    def __init__(self, scene: Scene) -> None:
        """Begin it."""
        path = scene.folder / f"{scene.name}.yaml"
        path.write_text(yaml.safe_dump(scene.config.model_dump(mode="json")), encoding="utf-8")
        self._log = scene.folder / f"{scene.name}.log"
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "reward_finetuning.pipelines.cli", "run", str(path)],
                stdout=log,
                stderr=log,
                cwd=scene.folder,
                start_new_session=True,
            )

    step = "rft run"

    def ended(self, seconds: float) -> bool:
        """See Fork."""
        with suppress(subprocess.TimeoutExpired):
            self.code = self._process.wait(seconds)
            return True
        return False

    def kill(self) -> None:
        """SIGKILL to all of them at once, as a node that goes away."""
        for pid in descendants(self._process.pid):
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.code = self._process.wait()

    def finish(self) -> None:
        """See Fork."""
        if not self.ended(600):
            self.kill()
        assert self.code == 0, f"rft run ended with code {self.code}:\n{self.log()}"

    def log(self) -> str:
        """See Fork."""
        return self._log.read_text(errors="replace")[-3000:]


def descendants(root: int) -> Sequence[int]:
    """A process and all that it started."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(FileNotFoundError, ProcessLookupError):
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
            children.setdefault(parent, []).append(int(stat.parent.name))
    queue = [root]
    for pid in queue:
        queue += children.get(pid, [])
    return queue
