"""The evaluated samples as a table that MLflow's UI shows."""

from __future__ import annotations

from typing import Any

from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.artifacts.evaluations import REWARD, SAMPLES, read_table
from reward_finetuning.storage.artifacts.rewards import COMBINED

MOST_ROWS = 5000
"""The UI loads a table whole."""

_ABOUT = ("prompt_set", "category", "image_index")
_PLACES = ("prompt_set", "prompt_id", "image_index")


def sample_table(run: RunDirectory, pretrained: str, report: str) -> dict[str, list[Any]]:
    """Prompt, category, image and rewards before and after: {"columns": [...], "data": [one list a row]}.

    Args:
        run: the run.
        pretrained: report artifact of the pretrained model.
        report: report artifact of the policy; its rows come first to last, at most MOST_ROWS.
    """
    before = {_place(row): row for row in _rows(run, pretrained)}
    after = _rows(run, report)
    rewards = sorted((c for c in after[0] if c.startswith(REWARD)), key=lambda column: column != REWARD + COMBINED)
    names = [column.removeprefix(REWARD) for column in rewards]
    # The UI shows the first four columns, the others on demand.
    columns = ["prompt", *(f"{name} {side}" for name in names for side in ("before", "after")), *_ABOUT]
    data = []
    for row in after[:MOST_ROWS]:
        old = before.get(_place(row), {})
        values = [value for column in rewards for value in (old.get(column), row[column])]
        data.append([row["prompt"], *values, *(row[column] for column in _ABOUT)])
    return {"columns": columns, "data": data}


def _rows(run: RunDirectory, report: str) -> list[dict[str, Any]]:
    return read_table(run.store.fetch(report, [SAMPLES]))


def _place(row: dict[str, Any]) -> tuple[Any, ...]:
    return tuple(row[column] for column in _PLACES)
