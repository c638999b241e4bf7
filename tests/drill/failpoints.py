"""Named places at which a process is killed: the tests wrap functions of the product, which knows nothing of them."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from drill.scene import Place


@dataclass(frozen=True)
class Failpoint:
    """Before or after a call of a function or method."""

    name: str
    module: str
    attribute: str
    when: Literal["before", "after"]
    place: Place | None = None
    """Where it can happen; None: everywhere."""


_LOCAL, _BUCKETS = "reward_finetuning.storage.local", "reward_finetuning.storage.buckets"

FAILPOINTS = [
    Failpoint("files written, not synced", _LOCAL, "_sync_below", "before", "disk"),
    Failpoint("files synced, no manifest", _LOCAL, "_sync_below", "after", "disk"),
    Failpoint("text half way to its name", _LOCAL, "_write_text", "after", "disk"),
    Failpoint("manifest written, not renamed", _LOCAL, "LocalStore._publish", "before", "disk"),
    Failpoint("artifact renamed", _LOCAL, "LocalStore._publish", "after", "disk"),
    Failpoint("small file linked", _LOCAL, "LocalStore._create", "after", "disk"),
    Failpoint("data not uploaded", f"{_BUCKETS}.transfers", "upload", "before", "gcs"),
    Failpoint("data uploaded, no manifest", f"{_BUCKETS}.transfers", "upload", "after", "gcs"),
    Failpoint("object not put", f"{_BUCKETS}.bucket", "Bucket.put", "before", "gcs"),
    Failpoint("object put", f"{_BUCKETS}.bucket", "Bucket.put", "after", "gcs"),
    Failpoint("artifact claimed", f"{_BUCKETS}.store", "BucketStore._publish", "after", "gcs"),
    Failpoint(
        "pictures of a micro-batch", "reward_finetuning.storage.artifacts.rollouts", "write_micro_batch", "after"
    ),
    Failpoint("rewards written", "reward_finetuning.storage.artifacts.rewards", "write_rewards", "after"),
    Failpoint("optimizer step", "reward_finetuning.training.engine", "Engine.step", "after"),
    Failpoint("tensors of a checkpoint", "reward_finetuning.policy.save", "save_tensors", "after"),
    Failpoint("checkpoint written", "reward_finetuning.training.learner", "Learner.save", "after"),
    Failpoint("latest.json not moved", "reward_finetuning.storage.run_directory", "RunDirectory.advance", "before"),
    Failpoint("latest.json moved", "reward_finetuning.storage.run_directory", "RunDirectory.advance", "after"),
    Failpoint("journal not written", "reward_finetuning.tracking.journal", "Journal.add", "before"),
    Failpoint("journal written, not sent", "reward_finetuning.tracking.journal", "Journal.add", "after"),
    Failpoint("sent, not marked", "reward_finetuning.tracking.journal", "Journal.mark_sent", "before"),
    Failpoint("part of an evaluation", "reward_finetuning.storage.artifacts.evaluations", "write_part", "after"),
    Failpoint("report written", "reward_finetuning.storage.artifacts.evaluations", "write_evaluation", "after"),
    Failpoint("champion not seated", "reward_finetuning.evaluation.champion", "RunSeat.take", "before"),
    Failpoint("champion seated", "reward_finetuning.evaluation.champion", "RunSeat.take", "after"),
]


def arm(failpoint: Failpoint, call: int) -> None:
    """Kill this process at the `call`-th passage, 1 being the first."""
    passages = [0]

    def wrapped(original: Callable[..., Any]) -> Callable[..., Any]:
        def function(*args: Any, **named: Any) -> Any:
            passages[0] += 1
            if passages[0] == call and failpoint.when == "before":
                os.kill(os.getpid(), signal.SIGKILL)
            number = passages[0]
            result = original(*args, **named)
            if number == call:
                os.kill(os.getpid(), signal.SIGKILL)
            return result

        return function

    replace(failpoint.module, failpoint.attribute, wrapped)


def replace(module: str, attribute: str, wrapped: Callable[[Callable[..., Any]], Callable[..., Any]]) -> None:
    """Put `wrapped(original)` in the place of a function, in every module that has imported it, or of a method."""
    owner: Any = import_module(module)
    *classes, name = attribute.split(".")
    for each in classes:
        owner = getattr(owner, each)
    original = getattr(owner, name)
    replacement = wrapped(original)
    setattr(owner, name, staticmethod(replacement) if _is_static(owner, name) else replacement)
    if not classes:
        ours = [each for key, each in list(sys.modules.items()) if key.startswith("reward_finetuning")]
        for importer in ours:
            for key, value in list(vars(importer).items()):
                if value is original:
                    setattr(importer, key, replacement)


def _is_static(owner: Any, name: str) -> bool:
    return isinstance(vars(owner).get(name), staticmethod)
