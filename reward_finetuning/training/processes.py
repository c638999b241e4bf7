"""The processes that train one policy together: each does a part of the work, and all hold the same weights."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from reward_finetuning.config.errors import TrainingError, UserError
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.events import silence
from reward_finetuning.objectives.two_pass import Share
from reward_finetuning.policy.sharding import is_sharded, whole
from reward_finetuning.storage import Identity, Manifest, RunDirectory
from reward_finetuning.training.launch import end_with_parent

V = TypeVar("V")

_LONGEST_WAIT = timedelta(days=7)
"""How long a process waits for another that evaluates or scores slowly; one that has died is noticed at once."""

_BUCKET = 1 << 25
"""Elements of gradient that are summed at a time: 128 MiB of float32."""


class Processes:
    """This process's place among all; by default it is alone, and then no method communicates."""

    def __init__(self, rank: int = 0, count: int = 1, waiting: Any = None) -> None:
        """`waiting`: the group in which processes wait for each other."""
        self.rank, self.count = rank, count
        self._waiting = waiting

    @property
    def is_first(self) -> bool:
        """Whether it is this one that writes artifacts, moves latest.json and talks to MLflow."""
        return self.rank == 0

    @property
    def share(self) -> Share:
        """Its part of the cells."""
        return Share(self.rank, self.count, self.total)

    def agreed(self, value: V) -> V:
        """The first process's value, on every process."""
        if self.count == 1:
            return value
        values = [value]
        dist.broadcast_object_list(values, src=0, group=self._waiting)
        return values[0]

    def gathered(self, value: V) -> list[V]:
        """Every process's value, by rank."""
        if self.count == 1:
            return [value]
        values: list[Any] = [None] * self.count
        dist.all_gather_object(values, value, group=self._waiting)
        return values

    def total(self, part: Tensor) -> Tensor:
        """Sum over all processes of a CPU tensor."""
        if self.count == 1:
            return part
        whole = part.clone()
        dist.all_reduce(whole, group=self._waiting)
        return whole

    def sum_gradients(self, weights: Iterable[Tensor]) -> None:
        """Replace each weight's gradient by the sum over all processes; a missing one counts as zero."""
        if self.count == 1:
            return
        for bucket in _buckets(list(weights)):
            for weight in bucket:
                weight.grad = torch.zeros_like(weight) if weight.grad is None else weight.grad
            flat = torch.cat([weight.grad.flatten() for weight in bucket if weight.grad is not None])
            dist.all_reduce(flat)
            for weight, part in zip(bucket, flat.split([weight.numel() for weight in bucket]), strict=True):
                assert weight.grad is not None
                weight.grad.copy_(part.view_as(weight))  # in its own memory format: channels last, if so

    def whole(self, tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """On the first process `tensors`, those that are sharded gathered into its main memory; none on the others."""
        self.agreed(value=None)  # the first process may still write other tensors, for longer than nccl waits
        gathered: dict[str, Tensor] = {}
        for name, tensor in tensors.items():
            complete = whole(tensor.detach())
            if self.is_first:
                gathered[name] = complete.cpu() if is_sharded(tensor) else complete
        return gathered

    def check_equal(self, weights: Iterable[Tensor]) -> None:
        """See that all processes hold the same weights, to the last bit; of sharded weights each holds another part.

        Raises:
            TrainingError: they do not; what was learnt would be the first process's alone.
        """
        if self.count == 1:
            return
        parts = self.gathered([_bits(weight.detach()) for weight in weights if not is_sharded(weight)])
        if any(part != parts[0] for part in parts):
            raise TrainingError(
                f"the {self.count} processes hold different weights after the same updates: their machines compute "
                "differently; use nodes of one kind, or training.processes: 1"
            )


@contextmanager
def joined(model: ModelConfig) -> Iterator[Processes]:
    """The processes that torchrun has started, this one among them; alone where it did not start this one.

    Raises:
        UserError: there are more processes than GPUs on this node.
    """
    count = int(os.environ.get("WORLD_SIZE", "1")) if dist.is_torchelastic_launched() else 1
    if count == 1:
        yield Processes()
        return
    end_with_parent(signal.SIGKILL)  # torchrun itself may be killed
    on_gpu = model.device != "cpu" and torch.cuda.is_available()
    if on_gpu:
        _take_gpu(int(os.environ["LOCAL_RANK"]))
    dist.init_process_group("nccl" if on_gpu else "gloo")
    processes = Processes(dist.get_rank(), count, dist.new_group(backend="gloo", timeout=_LONGEST_WAIT))
    if not processes.is_first:  # the first process reports; errors of all go to stderr
        silence()
    yield processes
    dist.destroy_process_group()  # not after an error: it would wait for processes that still compute


def commit_together(
    processes: Processes,
    run: RunDirectory,
    name: str,
    identity: Identity,
    write: Callable[[Path | None], Mapping[str, Any]],
) -> Manifest:
    """RunDirectory.commit by the first process; where there is something to write, all take part in it.

    Args:
        processes: all.
        run: where.
        name: of the artifact.
        identity: of the artifact.
        write: fills a folder, and returns the artifact's facts; with None it does its part of the work, and that is it.
    """
    if not processes.is_first:
        if processes.agreed(value=False):
            write(None)
        return processes.agreed(Manifest(identity=identity, files={}))
    takes_part = False

    def with_the_others(folder: Path) -> Mapping[str, Any]:
        nonlocal takes_part
        takes_part = processes.agreed(value=True)
        return write(folder)

    manifest = run.commit(name, identity, with_the_others)
    if not takes_part:  # the artifact exists already
        processes.agreed(value=False)
    return processes.agreed(manifest)


def _take_gpu(number: int) -> None:
    if number >= torch.cuda.device_count():
        raise UserError(
            f"training.processes asks for more than {number} processes, this node has {torch.cuda.device_count()} GPUs"
        )
    torch.cuda.set_device(number)  # from here on "cuda" is this one


def _bits(weight: Tensor) -> int:
    """Sum of the values' bit patterns: no rounding, so in any order the same."""
    pattern = {2: torch.int16, 4: torch.int32, 8: torch.int64}[weight.element_size()]
    return int(weight.contiguous().view(pattern).sum(dtype=torch.int64))


def _buckets(weights: list[Tensor]) -> Iterator[list[Tensor]]:
    """Weights in order, of about _BUCKET elements and one type."""
    bucket: list[Tensor] = []
    for weight in weights:
        if bucket and (sum(w.numel() for w in bucket) + weight.numel() > _BUCKET or weight.dtype != bucket[0].dtype):
            yield bucket
            bucket = []
        bucket.append(weight)
    if bucket:
        yield bucket
