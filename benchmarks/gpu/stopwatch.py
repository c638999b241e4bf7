"""Time, memory and matrix rate of a device."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from reward_finetuning.policy.networks import tensor_float_32


@dataclass(frozen=True, slots=True)
class Timing:
    """Seconds of one call, over repeats after a warm-up."""

    median: float
    fastest: float
    slowest: float
    warm_up: float
    """Of the first call, which may compile and choose kernels."""

    peak_gib: float | None
    """Highest memory of the device during the calls, the weights included; None on a CPU."""

    def record(self) -> dict[str, Any]:
        """As JSON, rounded."""
        return {key: None if value is None else round(value, 5) for key, value in asdict(self).items()}


def synchronise(device: torch.device) -> None:
    """Wait until the device has done all work."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def timed(call: Callable[[], object], device: torch.device, *, repeats: int = 3) -> Timing:
    """Call once to warm up, then `repeats` times."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)
    first, *seconds = (_seconds(call, device) for _ in range(1 + repeats))
    peak = torch.cuda.max_memory_allocated(device) / 2**30 if device.type == "cuda" else None
    return Timing(statistics.median(seconds), min(seconds), max(seconds), first, peak)


def _seconds(call: Callable[[], object], device: torch.device) -> float:
    synchronise(device)
    start = time.perf_counter()
    call()
    synchronise(device)
    return time.perf_counter() - start


def flops(call: Callable[[], object]) -> int:
    """Floating-point operations of the matrix products, convolutions and attention of a call."""
    with FlopCounterMode(display=False) as counter:
        call()
    return int(counter.get_total_flops())


def matrix_rate(device: torch.device, dtype: torch.dtype, *, tf32: bool, size: int) -> float:
    """Operations per second of a product of two square matrices, the highest rate that a network could reach."""
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    with tensor_float_32(allowed=tf32):
        timing = timed(lambda: left @ right, device, repeats=10)
    return 2 * size**3 / timing.fastest
