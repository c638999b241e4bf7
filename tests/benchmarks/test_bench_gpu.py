"""The GPU benchmark with tiny networks on the CPU: one measurement of each group, and the page."""

import sys
from pathlib import Path

import pytest
import torch

FOLDER = Path(__file__).parents[2] / "benchmarks" / "gpu"


@pytest.fixture
def bench(monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    import bench_gpu

    yield bench_gpu
    for name in [name for name, module in sys.modules.items() if str(FOLDER) in str(getattr(module, "__file__", ""))]:
        del sys.modules[name]


@pytest.mark.slow
def test_a_measurement_of_each_group_runs_and_is_on_the_page(bench):
    cpu = torch.device("cpu")
    groups = {group: (name, call) for group, name, call in reversed(list(bench.plan(cpu, tiny=True)))}
    records = [
        {"group": group, "name": name, **bench.measure(call, cpu)} for group, (name, call) in reversed(groups.items())
    ]
    result = {"machine": bench.machine(cpu), "tiny": True, "measurements": records}

    page = bench.page(result)

    assert not [record for record in records if "error" in record]
    (exact,) = (record for record in records if record["group"] == "correctness")
    assert exact["log_prob_difference"] == 0.0
    assert exact["gradient_norm_ratio"] == 1.0
    assert all(f"## {group.capitalize()}" in page for group in groups)
    assert "not run" not in page


def test_an_error_of_a_measurement_is_on_the_page_and_ends_nothing(bench):
    def fail():
        raise RuntimeError("CUDA out of memory")

    record = bench.measure(fail, torch.device("cpu"))
    result = {
        "machine": bench.machine(torch.device("cpu")),
        "tiny": True,
        "measurements": [
            {"group": "sampling", "name": "large", **record},
            {"group": "sampling", "name": "larger", "not_run": "9 minutes were over"},
        ],
    }

    page = bench.page(result)

    assert "- large: failed, RuntimeError: CUDA out of memory" in page
    assert "- larger: not run, 9 minutes were over" in page
