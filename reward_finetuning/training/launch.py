"""Start a step on several processes: `python -m reward_finetuning.training.launch [torchrun's options] -m STEP ...`.

This is torchrun with three differences: it ends with whoever started it, its exit code is that of the process that
failed, and on Vertex AI it finds the other nodes by itself. On Kubeflow the Trainer tells torchrun of them (PET_...).
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

from reward_finetuning.config.errors import RetryableError
from reward_finetuning.config.run import RunConfig
from reward_finetuning.events import waiting
from reward_finetuning.failures import FAILURE_FILE, failure_in

CLUSTER_SPEC = "CLUSTER_SPEC"
"""Environment variable in which Vertex AI describes the worker pools of a custom job."""

PORT = 29500
"""Of the first node, where the others meet it."""

_PR_SET_PDEATHSIG = 1  # prctl(2): a signal for when the parent ends


def processes_to_start(config: RunConfig) -> int:
    """How many processes a step is to start on this node; 0: none, it does the work itself."""
    import torch
    from torch.distributed import is_torchelastic_launched

    if is_torchelastic_launched():
        return 0
    setting = config.training.processes
    num_gpus = torch.cuda.device_count() if config.model.device != "cpu" else 0
    num_processes = max(1, num_gpus) if setting == "auto" else setting
    return num_processes if num_processes > 1 or _other_nodes() else 0


def start(step: str, options: Mapping[str, str | Sequence[str]], num_processes: int) -> None:
    """Run a step's program on this node's processes, and wait until all are done; on Vertex AI with the other nodes'.

    Args:
        step: its module.
        options: its flags, without dashes; a sequence repeats the flag.
        num_processes: how many.

    Raises:
        UserError, TrainingError, RetryableError: the error of the process that failed.
        RuntimeError: it failed in another way.
    """
    program = [step, *words(options)]
    nodes = [] if _other_nodes() else ["--standalone"]
    own = [*nodes, f"--nproc-per-node={num_processes}", "-m", *program]
    with TemporaryDirectory() as folder:
        failure = Path(folder) / "failure.json"
        command = [sys.executable, "-m", __spec__.name, *own]
        with waiting():
            code = subprocess.run(command, env=os.environ | {FAILURE_FILE: str(failure)}, check=False).returncode
        record = failure.read_text(encoding="utf-8") if failure.exists() else ""
    if code:
        raise failure_in(record) or RetryableError(
            f"one of {num_processes} processes of {step} ended with code {code} and left no error: it was killed, "
            "most likely because the machine had no memory left"
        )


def words(options: Mapping[str, str | Sequence[str]]) -> list[str]:
    """A step's flags as a command line has them."""
    return [
        word
        for name, given in options.items()
        for value in ([given] if isinstance(given, str) else given)
        for word in (f"--{name.replace('_', '-')}", value)
    ]


def _other_nodes() -> bool:
    spec = os.environ.get(CLUSTER_SPEC)
    return spec is not None and len(vertex_nodes(spec)) > 0


def vertex_nodes(cluster_spec: str) -> list[str]:
    """torchrun's options for this node of a Vertex AI custom job; none where it is the only one.

    Its nodes are those of all worker pools, in order; the first pool has one, which is the one where all meet.

    Args:
        cluster_spec: value of CLUSTER_SPEC, JSON text.

    Source: cloud.google.com/vertex-ai/docs/training/distributed-training, "Format of CLUSTER_SPEC".
    """
    spec = json.loads(cluster_spec)
    pools: dict[str, list[str]] = {name: spec["cluster"][name] for name in sorted(spec["cluster"])}
    nodes = [(name, index) for name, hosts in pools.items() for index in range(len(hosts))]
    if len(nodes) == 1:
        return []
    first = pools["workerpool0"][0].rpartition(":")[0]
    rank = nodes.index((spec["task"]["type"], int(spec["task"]["index"])))
    return [f"--nnodes={len(nodes)}", f"--node-rank={rank}", f"--master-addr={first}", f"--master-port={PORT}"]


def end_with_parent(ending: signal.Signals) -> None:
    """Have the kernel send `ending` to this process when the process that started it ends; Linux only."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, int(ending))


def main(arguments: Sequence[str]) -> int:
    """torchrun; returns the exit code."""
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
    from torch.distributed.run import main as torchrun

    end_with_parent(signal.SIGTERM)
    spec = os.environ.get(CLUSTER_SPEC)
    nodes = vertex_nodes(spec) if spec and "--standalone" not in arguments else []
    # One thread per process unless the user sets another number; set here, torchrun does not warn.
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    try:
        torchrun([*nodes, *arguments])
    except ChildFailedError as error:
        _, failure = error.get_first_failure()
        return failure.exitcode if failure.exitcode > 0 else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
