"""How busy the machine is, once an epoch.

MLflow's own SystemMetricsMonitor is not used: it asks the server whether the run is active at every sample, and its
thread ends for good at the first answer that does not come; and its steps are samples, not epochs.
"""

from __future__ import annotations

import sys
from contextlib import suppress
from typing import Any


def watch_cpu() -> None:
    """Let the next `system_metrics` report the CPU's use since now."""
    with suppress(ImportError):  # the light image has no psutil; there is nothing to watch there
        import psutil

        psutil.cpu_percent()


def system_metrics() -> dict[str, float]:
    """CPU, memory and GPUs, named as MLflow names them, so that its UI shows them on their own tab.

    `cpu_utilization_percentage` is the mean over all cores since the last call, or since `watch_cpu`; all else is now,
    but `gpu_0_memory_peak_megabytes`, the most that this process's tensors took since the last call.
    """
    import psutil

    memory = psutil.virtual_memory()
    metrics = {
        "cpu_utilization_percentage": psutil.cpu_percent(),
        "system_memory_usage_megabytes": memory.used / 1e6,
        "system_memory_usage_percentage": memory.percent,
        "process_memory_usage_megabytes": psutil.Process().memory_info().rss / 1e6,
    }
    torch = sys.modules.get("torch")  # whoever has not imported it uses no GPU
    if torch is not None and torch.cuda.is_available():
        for device in range(torch.cuda.device_count()):
            metrics |= {f"gpu_{device}_{key}": value for key, value in _gpu(torch, device).items()}
    return {f"system/{key}": round(float(value), 1) for key, value in metrics.items()}


def _gpu(torch: Any, device: int) -> dict[str, float]:
    free, total = torch.cuda.mem_get_info(device)
    metrics = {
        "memory_usage_megabytes": (total - free) / 1e6,
        "memory_usage_percentage": (total - free) / total * 100,
        "memory_peak_megabytes": torch.cuda.max_memory_allocated(device) / 1e6,
    }
    torch.cuda.reset_peak_memory_stats(device)
    with suppress(ImportError, RuntimeError):  # needs nvidia-ml-py and its driver's leave
        metrics["utilization_percentage"] = torch.cuda.utilization(device)
    return metrics
