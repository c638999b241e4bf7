"""The page's beginning: which method to choose when, at what settings, and how sure that is."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from judge import OFFSETS, Arms, at_offset
from plan import TUNING, grid_of, selection, tasks, tuning_scale
from results import difference

_NAMES = {
    "prdp": "PRDP", "ddpo": "DDPO", "ppod": "PPOD", "dpok": "DPOK", "rwr": "RWR",
    "prdp-flow": "PRDP, flow model", "ddpo-flow": "DDPO, flow model",
}  # fmt: skip


def answers(study: Mapping[str, Any], found: Mapping[str, Arms]) -> str:
    """Markdown; says what is missing before it says anything else."""
    parts = ["## What to choose\n", *_missing(study), *_methods(found), *_settings(study, found)]
    return "\n".join(parts)


def _missing(study: Mapping[str, Any]) -> Iterator[str]:
    wanted = tasks(study)
    lacking = [task for task in wanted if not task.result.exists()]
    if not lacking:
        yield f"All {len(wanted)} runs are done.\n"
        return
    by_claim = {task.claim: sum(other.claim == task.claim for other in lacking) for task in lacking}
    parts = ", ".join(f"{claim}: {count}" for claim, count in sorted(by_claim.items()))
    yield f"**{len(lacking)} of {len(wanted)} runs are still missing** ({parts}). `make study` does them.\n"


def _methods(found: Mapping[str, Arms]) -> Iterator[str]:
    judged = found.get("b", {})
    pairs = [
        ("45 prompts, each seen often", "prdp-small", "ddpo-small", "DDPO"),
        ("1056 prompts, DDPO with one image of each", "prdp-large", "ddpo-large", "DDPO"),
        ("1056 prompts, DDPO with eight images of each", "prdp-large", "ddpo-groups-large", "DDPO"),
    ]
    rows = [
        f"| {case} | {judged[ours].gain()} | {judged[theirs].gain()} | {difference(judged[ours], judged[theirs])} | "
        f"{_verdict(judged[ours], judged[theirs])} |"
        for case, ours, theirs, _ in pairs
        if {ours, theirs} <= judged.keys() and judged[ours].gains().keys() & judged[theirs].gains().keys()
    ]
    rows += list(_levels(found))
    if not rows:
        yield (
            "No judged run is there yet, so this page recommends no method. The tuning grids at its end have one seed: "
            "they choose settings within a method, and say nothing of one method against another.\n"
        )
        return
    yield "| your case | PRDP | DDPO | PRDP − DDPO | choose |\n|---|---|---|---|---|"
    yield from rows
    yield ""


def _levels(found: Mapping[str, Arms]) -> Iterator[str]:
    for form, images in (("ddpo", "one image"), ("ddpo-groups", "eight images")):
        for offset in OFFSETS[1:]:
            try:
                prdp, ddpo = at_offset(found, "prdp", offset), at_offset(found, form, offset)
                gap = difference(prdp, ddpo, "shapes")
            except (KeyError, ZeroDivisionError):
                continue
            gains = " | ".join(str(arm.gain(reward="shapes")) for arm in (prdp, ddpo))
            yield (
                f"| 1056 prompts, scored at levels with standard deviation {offset}, DDPO with {images} of each | "
                f"{gains} | {gap} | {_verdict(prdp, ddpo, 'shapes')} |"
            )


def _verdict(ours: Any, theirs: Any, reward: str = "reward") -> str:
    gap = difference(ours, theirs, reward)
    seeds = len(ours.gains().keys() & theirs.gains().keys())
    if not (ours.is_complete and theirs.is_complete):
        return f"open: {seeds} seed{'s' * (seeds != 1)} so far"
    if gap.low > 0:
        return "PRDP"
    return "DDPO" if gap.high < 0 else f"either: {seeds} seeds show no difference"


def _settings(study: Mapping[str, Any], found: Mapping[str, Arms]) -> Iterator[str]:
    yield "Settings, chosen by each method's grid on a seed that no judged run uses ([every cell](#tuning)):\n"
    yield "| method | learning rate | updates per epoch | its own knob |\n|---|---|---|---|"
    for method in study["tuning"]["grids"]:
        cells = grid_of(study, method)
        chosen = selection(study, method)
        there = sum(cell.arm in found.get(TUNING, {}) for cell in cells)
        if chosen is None:
            yield f"| {_NAMES[method]} | not chosen yet: {there} of {len(cells)} cells are run | | |"
            continue
        at_scale = study["scales"][tuning_scale(study, method)]
        updates = chosen.knobs.get("u", at_scale.get("training", {}).get("updates_per_epoch"))
        own = ", ".join(f"{knob} {value:g}" for knob, value in chosen.knobs.items() if knob not in {"lr", "u"})
        yield f"| {_NAMES[method]} | {chosen.knobs['lr']:g} | {updates} | {own} |"
    yield ""
