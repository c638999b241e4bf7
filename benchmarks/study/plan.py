"""study.yaml as a list of runs: one a (claim, arm, seed)."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from reward_finetuning.config import RunConfig

HERE = Path(__file__).parent
RESULTS = HERE / "results"
WORK = HERE.parents[1] / "runs" / "study"


@dataclass(frozen=True)
class Task:
    """One run of the study."""

    claim: str
    arm: str
    seed: int
    settings: dict[str, Any]

    @property
    def result(self) -> Path:
        """Where its result is committed."""
        return self.result_in(RESULTS)

    def result_in(self, folder: Path) -> Path:
        """Where its result lies below `folder`."""
        return folder / self.claim / f"{self.arm}-seed{self.seed}.json"

    def config(self) -> RunConfig:
        """The run file that this task is, prompt files found beside study.yaml."""
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


def tasks(study: Mapping[str, Any]) -> Iterator[Task]:
    """All runs, claims in the order of study.yaml, and of a claim one seed of every arm before the next seed."""
    for claim, stated in study["claims"].items():
        for seed in stated["seeds"]:
            for arm, described in _arms(stated).items():
                if seed in described.get("seeds", stated["seeds"]):
                    yield Task(claim, arm, seed, _settings(study, described))


def _arms(stated: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    arms = dict(stated["arms"])
    for kind in stated.get("kinds", ()):
        for arm, described in stated["arms_per_kind"].items():
            images = 64 if described["scale"] == "offline" else 16
            of_kind = {
                "prompts": {"train": f"prompts/train-{kind}.jsonl", "prompts_per_epoch": 16},
                "sampling": {"images_per_prompt": images},
                "evaluation": {
                    "prompt_sets": {"train": f"prompts/train-{kind}.jsonl", "unseen": f"prompts/unseen-{kind}.jsonl"}
                },
            }
            arms[f"{arm}-{kind}"] = {**described, "settings": _merged(of_kind, described.get("settings", {}))}
    return arms


def _settings(study: Mapping[str, Any], described: Mapping[str, Any]) -> dict[str, Any]:
    """Base, then scale, method and the arm's own settings."""
    tree = _merged(study["base"], study["scales"][described["scale"]])
    if "method" in described:
        tree["objective"] = dict(study["methods"][described["method"]])
    return _merged(tree, described.get("settings", {}))


def _merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    """Sections are merged; lists, values, and the dicts whose keys are names (weights, prompt sets) are replaced."""
    merged = copy.deepcopy(dict(below))
    for key, value in above.items():
        replaces = key in {"weights", "prompt_sets"} or not isinstance(value, Mapping)
        merged[key] = copy.deepcopy(value) if replaces else _merged(merged.get(key, {}), value)
    return merged


def _found(source: str) -> str:
    return source if source.startswith("shapes:") else str(HERE / source)
