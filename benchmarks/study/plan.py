"""study.yaml as a list of runs: the cells of the tuning grids, and one a (claim, arm, seed)."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reward_finetuning.config import RunConfig
from reward_finetuning.pipelines.tuning.grid import Cell, cells, selected

HERE = Path(__file__).parent
RESULTS = HERE / "results"
WORK = HERE.parents[1] / "runs" / "study"
TUNING = "tuning"
"""Folder of the grids' results, beside those of the claims."""


@dataclass(frozen=True)
class Task:
    """One run of the study."""

    claim: str
    arm: str
    seed: int
    settings: dict[str, Any] | None
    """None: it awaits the results of a tuning grid."""

    option: str = ""
    """Of PRDP, by its name in options.py."""

    @property
    def result(self) -> Path:
        """Where its result is committed."""
        return self.result_in(RESULTS)

    def result_in(self, folder: Path) -> Path:
        """Where its result lies below `folder`."""
        return folder / self.claim / f"{self.arm}-seed{self.seed}.json"

    def config(self) -> RunConfig:
        """The run file that this task is, prompt files found beside study.yaml."""
        assert self.settings is not None
        tree = copy.deepcopy(self.settings)
        tree["prompts"]["train"] = _found(tree["prompts"]["train"])
        sets = tree["evaluation"]["prompt_sets"]
        tree["evaluation"]["prompt_sets"] = {name: _found(source) for name, source in sets.items()}
        name = f"{self.claim}-{self.arm}-seed{self.seed}"
        return RunConfig.model_validate(
            {**tree, "name": name, "run_root": str(WORK), "seed": self.seed, "tracking": {"enabled": False}}
        )


def read_study() -> dict[str, Any]:
    """study.yaml."""
    return dict(yaml.safe_load((HERE / "study.yaml").read_text(encoding="utf-8")))


def grid_of(study: Mapping[str, Any], method: str) -> list[Cell]:
    """The cells of a method's grid."""
    grid = study["tuning"]["grids"][method]
    return list(cells(method, {knob: values for knob, values in grid.items() if knob != "scale"}))


def tuning_scale(study: Mapping[str, Any], method: str) -> str:
    """The scale that a method's grid is run at."""
    return str(study["tuning"]["grids"][method]["scale"])


def selection(study: Mapping[str, Any], method: str, among: Mapping[str, float] | None = None) -> Cell | None:
    """The cell that the rule selects; None while the grid is not run."""
    grid = grid_of(study, method)
    done = [(cell, task) for cell in grid if (task := _tuning_task(study, cell)).result.exists()]
    return selected(grid, {cell.arm: _gain(task) for cell, task in done}, among)


def tasks(study: Mapping[str, Any]) -> list[Task]:
    """All runs in the order in which they are done: each group of claims after the grids that its arms need."""
    ordered: dict[Path, Task] = {}
    for claims in study["order"]:
        stated = [(claim, study["claims"][claim]) for claim in claims]
        arms = [
            (claim, arm, described, seeds_of(its, described))
            for claim, its in stated
            for arm, described in arms_of(its)
        ]
        for method in dict.fromkeys(described["tuned"] for _, _, described, _ in arms):
            ordered |= {task.result: task for task in (_tuning_task(study, cell) for cell in grid_of(study, method))}
        for seed in sorted({seed for *_, seeds in arms for seed in seeds}):
            for claim, arm, described, seeds in arms:
                if seed in seeds:
                    task = Task(claim, arm, seed, _settings(study, described), described.get("option", ""))
                    ordered[task.result] = task
    return list(ordered.values())


def arms_of(stated: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any]]]:
    """Name and description of every arm of a claim."""
    yield from stated.get("arms", {}).items()
    for offset in stated.get("offsets", ()):
        for arm, described in stated["arms_per_offset"].items():
            reward = {
                "weights": {"shapes": 1.0, "prompt_level": offset},
                "scorers": {"prompt_level": {"use": "offsets:level"}},
            }
            yield f"{arm}-{offset:g}", {**described, "settings": {"reward": reward}}
    for kind in stated.get("kinds", ()):
        for arm, described in stated["arms_per_kind"].items():
            if kind in described.get("kinds", stated["kinds"]):
                yield f"{arm}-{kind}", {**described, "settings": _of_kind(kind, described)}


def seeds_of(stated: Mapping[str, Any], described: Mapping[str, Any]) -> list[int]:
    """The seeds of an arm: its own, else its claim's."""
    return list(described.get("seeds", stated["seeds"]))


def _of_kind(kind: str, described: Mapping[str, Any]) -> dict[str, Any]:
    """16 prompts of one kind: 256 images a stage, or 1024 at once."""
    own = {
        "prompts": {"train": f"prompts/train-{kind}.jsonl", "prompts_per_epoch": 16},
        "sampling": {"images_per_prompt": 64 if described["scale"] == "offline" else 16},
        "evaluation": {
            "prompt_sets": {"train": f"prompts/train-{kind}.jsonl", "unseen": f"prompts/unseen-{kind}.jsonl"}
        },
    }
    return merged(own, described.get("settings", {}))


def _tuning_task(study: Mapping[str, Any], cell: Cell) -> Task:
    return Task(TUNING, cell.arm, study["tuning"]["seed"], _joined(study, tuning_scale(study, cell.method), cell, {}))


def _gain(task: Task) -> float | None:
    """Gain on training prompts of a finished run; None if it stopped early."""
    content = json.loads(task.result.read_text(encoding="utf-8"))
    return None if content["error"] else float(content["evaluations"]["eval/train/reward/gain"][-1][1])


def _settings(study: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any] | None:
    cell = selection(study, described["tuned"], described.get("among"))
    return None if cell is None else _joined(study, described["scale"], cell, described.get("settings", {}))


def _joined(study: Mapping[str, Any], scale: str, cell: Cell, own: Mapping[str, Any]) -> dict[str, Any]:
    """Base, then scale, method, the tuned settings and the arm's own."""
    tree = merged(study["base"], study["scales"][scale])
    tree["objective"] = dict(study["methods"][cell.method])
    return merged(merged(tree, cell.settings), own)


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Sections are merged; lists, values, and the dicts whose keys are names (weights, prompt sets) are replaced."""
    tree = copy.deepcopy(dict(below))
    for key, value in above.items():
        replaces = key in {"weights", "prompt_sets"} or not isinstance(value, Mapping)
        tree[key] = copy.deepcopy(value) if replaces else merged(tree.get(key) or {}, value)
    return tree


def _found(source: str) -> str:
    return source if source.startswith("shapes:") else str(HERE / source)
