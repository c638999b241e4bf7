"""The hardware of a task: its GPUs, or its processor."""

from __future__ import annotations

import os
import platform
import sys
from pathlib import Path

UNKNOWN = "unknown"


def hardware() -> str:
    """The GPU of this process if it uses one, else the processor with the number of cores that it may use.

    For example "NVIDIA L4" or "Intel(R) Xeon(R) CPU @ 2.20GHz, 2 cores". What the system does not report is "unknown".
    """
    torch = sys.modules.get("torch")  # whoever has not imported it uses no GPU
    if torch is not None and torch.cuda.is_available():
        return str(torch.cuda.get_device_name())
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 0
    return f"{processor()}, {cores or UNKNOWN} {'core' if cores == 1 else 'cores'}"


def processor(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """Name of the processor."""
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name" and value.strip():
                return value.strip()
    return platform.processor() or f"{UNKNOWN} {platform.machine()} processor".replace("  ", " ")
