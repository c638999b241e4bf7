"""torch.compile of a network: kernels that are generated for its shapes, and the seconds that this takes."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec

import torch
from torch import nn

from reward_finetuning.config.errors import UserError

BACKEND = "inductor"

_MOST_SHAPES = 64
"""Sets of kernels of one network: per shape of a batch, with and without gradient, with and without adapters. An epoch
has about ten; torch's own limit is 8, above which it would evaluate the network without kernels."""


@dataclass(slots=True)
class CompileTime:
    """Seconds that torch.compile has taken."""

    seconds: float = 0.0


def compile_network(network: nn.Module) -> None:
    """Compile `network` in place: names of its weights, and what a checkpoint contains, stay the same.

    A shape is compiled when it first occurs. Kernels are never for several shapes: which shapes occurred before would
    then decide which kernel, and so which last bits, a batch gets, and a resumed run could differ.
    """
    network.compile(backend=BACKEND, dynamic=False, recompile_limit=_MOST_SHAPES, isolate_recompiles=True)


def check_compiler(device: torch.device) -> None:
    """Refuse to compile where a compiler is missing.

    Raises:
        UserError: naming what to install.
    """
    off = "or set model.compile: false"
    if device.type == "cpu":
        compiler = os.environ.get("CXX", "g++")
        if shutil.which(compiler) is None:
            raise UserError(
                f"model.compile: torch.compile writes C++ for the CPU, and there is no {compiler}: install a C++ "
                f"compiler (Debian: apt-get install g++), {off}"
            )
        return
    if find_spec("triton") is None:
        raise UserError(f"model.compile: torch.compile needs Triton on a GPU: pip install triton, {off}")
    if shutil.which(os.environ.get("CC", "gcc")) is None and shutil.which("clang") is None:
        raise UserError(
            "model.compile: Triton needs a C compiler, and there is neither gcc nor clang: install one (Debian: "
            f"apt-get install gcc), {off}"
        )


@contextmanager
def compile_time(*, enabled: bool) -> Iterator[CompileTime]:
    """Measure the seconds that torch.compile takes in this context, forward and backward; 0 if not `enabled`."""
    taken = CompileTime()
    if not enabled:
        yield taken
        return
    from torch._dynamo.callback import CallbackArgs, callback_handler

    began = 0.0

    def start(_: CallbackArgs) -> None:
        nonlocal began
        began = time.monotonic()

    def end(_: CallbackArgs) -> None:
        taken.seconds += time.monotonic() - began

    callback_handler.register_start_callback(start)
    callback_handler.register_end_callback(end)
    try:
        yield taken
    finally:
        callback_handler.remove_start_callback(start)
        callback_handler.remove_end_callback(end)
