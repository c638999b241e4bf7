"""The page of one JSON file of bench_gpu.py."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Record = dict[str, Any]


def page(result: Record) -> str:
    """Markdown of all measurements."""
    machine, records = result["machine"], result["measurements"]
    rates = {record["name"]: record["per_second"] for record in records if record.get("per_second")}
    versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
    lines = [f"# {machine['device']}, {machine['date']}", "", f"{versions}, CUDA {machine['cuda']}.", ""]
    if result["tiny"]:
        lines += ["**Tiny networks: the figures show only that every measurement runs.**", ""]
    lines += ["Random weights. Seconds are medians; memory is the peak, weights included.", ""]
    lines += ["## Matrix rate", "", *_table(("type", "TFLOP/s"), _rates(rates)), ""]
    for group, (head, row) in _TABLES.items():
        chosen = [record for record in records if record["group"] == group]
        rows = [(record["name"], *row(record, rates)) for record in chosen if not _failure(record)]
        lines += [f"## {group.capitalize()}", "", *_table(("case", *head), rows), ""]
        lines += [f"- {record['name']}: {_failure(record)}" for record in chosen if _failure(record)]
        lines += [""] * any(_failure(record) for record in chosen)
    return "\n".join(lines).rstrip() + "\n"


def _failure(record: Record) -> str:
    if "error" in record:
        return f"failed, {record['error']}"
    return f"not run, {record['not_run']}" if "not_run" in record else ""


def _rates(rates: dict[str, float]) -> list[tuple[str, ...]]:
    return [(name, f"{rate / 1e12:.1f}") for name, rate in rates.items()]


def _sampling(record: Record, rates: dict[str, float]) -> tuple[str, ...]:
    kind = next((name for name in ("bfloat16", "TF32") if name in record["name"]), "float32")
    share = record["flops_per_second"] / rates[kind] if kind in rates else float("nan")
    reference = record["ours_with_reference"]["median"] / record["ours"]["median"]
    return (
        f"{record['images_per_second']:.2f}",
        f"{record['against_diffusers']:.2f}",
        f"{reference:.2f}",
        f"{share:.0%}",
        _memory(record["ours"]),
    )


def _training(record: Record, _: dict[str, float]) -> tuple[str, ...]:
    return (
        f"{record['cells_per_second']:.1f}",
        f"{record['against_bare_loop']:.2f}",
        _memory(record["ours"]),
        _memory(record["bare_loop"]),
    )


def _variant(record: Record, _: dict[str, float]) -> tuple[str, ...]:
    forward, backward = record["forward"], record["forward_backward"]
    return (
        f"{forward['median']:.4f}",
        f"{backward['median']:.4f}",
        f"{forward['warm_up'] + backward['warm_up']:.1f}",
        _memory(backward),
        f"{record['log_prob_difference']:.1e}",
    )


def _correctness(record: Record, _: dict[str, float]) -> tuple[str, ...]:
    return (
        f"{record['log_prob_difference']:.1e}",
        f"{record['gradient_cosine_below_1_by']:.1e}",
        f"{record['gradient_norm_ratio']:.6f}",
    )


def _transfers(record: Record, _: dict[str, float]) -> tuple[str, ...]:
    names = ("aten::_local_scalar_dense", "cudaStreamSynchronize", "Memcpy HtoD", "Memcpy DtoH")
    return (str(record["steps"]), *(str(record[name]) for name in names))


def _memory(timing: Record) -> str:
    return "" if timing["peak_gib"] is None else f"{timing['peak_gib']:.1f} GiB"


def _table(head: tuple[str, ...], rows: list[tuple[str, ...]]) -> list[str]:
    cells = [head, ("---",) * len(head), *rows]
    return [f"| {' | '.join(row)} |" for row in cells]


_TABLES: dict[str, tuple[tuple[str, ...], Callable[[Record, dict[str, float]], tuple[str, ...]]]] = {
    "correctness": (("log-prob difference", "1 − cosine of gradients", "ratio of norms"), _correctness),
    "sampling": (
        ("images/s", "speed against diffusers", "cost with reference", "share of the matrix rate", "memory"),
        _sampling,
    ),
    "training": (("cells/s", "speed against a bare loop", "memory", "memory of the bare loop"), _training),
    "variants": (
        ("forward, s", "forward + backward, s", "first calls, s", "memory", "log-prob difference to float32"),
        _variant,
    ),
    "host and device": (("steps", "scalars read", "synchronisations", "copies to device", "to host"), _transfers),
}
