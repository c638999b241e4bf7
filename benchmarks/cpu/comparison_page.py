"""The page of one JSON file of bench.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import median
from typing import Any

from goals import GOALS, NETWORK, ratio

Result = dict[str, Any]

GROUPS = {
    "sampling": "Sampling: images drawn and decoded",
    "training": "Training: one update of all cells",
    "training, compiled": "The same with model.compile, without the time of compiling",
    "epoch, 1 update": "Whole epoch, 1 update: images, rewards, training, checkpoint",
    "epoch, 10 updates": "Whole epoch, 10 updates",
}


def page(result: Result) -> str:
    """Markdown of all measurements."""
    machine = result["machine"]
    lines = [f"# Against TRL and diffusers: {machine['hardware']}, {machine['date']}", ""]
    if result["quick"]:
        lines += ["**Small and once: the figures show only that every measurement runs.**", ""]
    for side in ("ours", "TRL"):
        lines += [f"- {side}: {', '.join(f'{name} {number}' for name, number in machine[side].items())}"]
    lines += [
        "",
        f"Load of the machine at the beginning: {machine['load']:.1f}. Built-in model, LoRA of rank 4, float32,",
    ]
    lines += [
        "T = 10, guidance 3, one thread a side. A side is a process; arms alternate, after one round of warm-up.",
        "",
    ]
    lines += ["## Goals", "", "Ratios are those of medians of CPU seconds; in brackets the range of single rounds.", ""]
    lines += [*_table(("goal", "limit", "figure", "met"), (goal.row(result) for goal in GOALS)), ""]
    for group, title in GROUPS.items():
        if group in result:
            lines += [f"## {title}", "", *_costs(result[group]), ""]
            if NETWORK in result[group]:
                bound = ratio(result[group]["TRL"], result[group][NETWORK])
                lines += [f"TRL's time against the {NETWORK}, which bounds the speed of every epoch: {bound}.", ""]
    if "memory by images and T" in result:
        lines += ["## Memory", "", *_memory(result), ""]
    if "commands" in result:
        rows = ((f"`{name}`", *_spread(seconds)) for name, seconds in result["commands"].items())
        lines += ["## Commands", "", *_table(("command", "CPU seconds, median", "range"), rows), ""]
    return "\n".join(lines).rstrip() + "\n"


def _costs(group: dict[str, list[dict[str, float]]]) -> list[str]:
    head = ("arm", "CPU seconds, median", "range", "wall seconds, median", "range")
    rows = (
        (name, *_spread([cost["cpu"] for cost in costs]), *_spread([cost["wall"] for cost in costs]))
        for name, costs in group.items()
    )
    return _table(head, rows)


def _memory(result: Result) -> list[str]:
    head = ("images", "T", "latents, MB", "idle program, MB", "peak above it, MB")
    rows = (tuple(f"{value:.0f}" for value in row.values()) for row in result["memory by images and T"])
    peaks, whole = (
        ", ".join(f"{side} {peak:.0f} MB" for side, peak in result[f"memory of {part}"].items())
        for part in ("an epoch", "the process")
    )
    return [
        *_table(head, rows),
        "",
        f"Two epochs of the built-in model, 8 per batch, above the loaded program: {peaks}.",
        f"The process with it: {whole}; ours contains MLflow, pandas and pyarrow, in which it reports and stores.",
    ]


def _spread(values: Sequence[float]) -> tuple[str, str]:
    return f"{median(values):.2f}", f"{min(values):.2f} to {max(values):.2f}"


def _table(head: tuple[str, ...], rows: Iterable[tuple[str, ...]]) -> list[str]:
    return [f"| {' | '.join(row)} |" for row in (head, ("---",) * len(head), *rows)]
