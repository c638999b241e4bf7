"""The metrics of an evaluation: a few as points of curves, and all of them as a table that MLflow's UI shows.

An evaluation has hundreds of metrics, one for each prompt set, category, reward and statistic. As points, each would be
a chart of the run's page, and most would hold a single point.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

_STATISTICS = ("before", "mean", "gain", "gain_low", "gain_high", "win_rate")
_CURVES = {("reward", "mean"), ("reward", "gain"), ("reward", "gain_low"), ("reward", "gain_high"), ("kl", "mean")}
_CATEGORY = "/category/"


def named(metrics: Mapping[str, float]) -> dict[str, float]:
    """The metrics that become curves: reward, its gain with the interval, and KL, of whole prompt sets.

    Args:
        metrics: `eval/SET/MEASURE/STATISTIC` or `eval/SET/category/CATEGORY/MEASURE/STATISTIC` -> value; others are
            kept.
    """
    return {key: value for key, value in metrics.items() if not key.startswith("eval/") or _is_curve(key)}


def metrics_table(metrics: Mapping[str, float]) -> dict[str, list[Any]]:
    """All metrics, a row for each prompt set, category and measure: {"columns": [...], "data": [one list a row]}."""
    rows: dict[tuple[str, str, str], dict[str, float]] = {}
    for key, value in metrics.items():
        parts = key.removeprefix("eval/").rsplit("/", 2)
        if len(parts) == 3:
            prompt_set, _, category = parts[0].partition(_CATEGORY)
            rows.setdefault((prompt_set, category, parts[1]), {})[parts[2]] = value
    data = [[*place, *(row.get(name) for name in _STATISTICS)] for place, row in rows.items()]
    return {"columns": ["prompt_set", "category", "measure", *_STATISTICS], "data": data}


def _is_curve(key: str) -> bool:
    parts = key.rsplit("/", 2)
    return len(parts) == 3 and _CATEGORY not in parts[0] and (parts[1], parts[2]) in _CURVES
