"""What the doctor for settings measures on settings that learn, and on those of the superseded study that do not.

python benchmarks/study/doctor_runs.py     runs what has no result in doctor/ yet; docs/settings.md shows them
"""

from __future__ import annotations

import sys
from typing import Any

import yaml
from plan import HERE, Task, merged, read_study
from run import run_task

SEED = 7
"""Neither the tuning seed nor one of the judged runs."""


def tasks() -> list[Task]:
    """One run an arm."""
    new, old = read_study(), yaml.safe_load((HERE / "superseded" / "study.yaml").read_text(encoding="utf-8"))
    prdp, ddpo, first = new["methods"]["prdp"], new["methods"]["ddpo"], old["methods"]["prdp"]
    arms: dict[str, tuple[dict[str, Any], int]] = {
        "prdp-beta1-u4": (_arm(new, "large", prdp, {"kl_weight": 1.0}, 4, 1e-2), 12),
        "prdp-beta1-u1": (_arm(new, "large", prdp, {"kl_weight": 1.0}, 1, 1e-2), 10),
        "prdp-beta10-u4": (_arm(new, "large", prdp, {"kl_weight": 10.0}, 4, 1e-2), 8),
        "prdp-beta20-u4": (_arm(new, "large", prdp, {"kl_weight": 20.0}, 4, 1e-2), 8),
        "ddpo-u4": (_arm(new, "large-singles", ddpo, {"max_advantage": 5.0}, 4, 3e-3), 4),
        "superseded-small": (_arm(old, "small", first, {}, 4, 1e-2), 14),
        "superseded-large": (_arm(old, "large-pairs", first, {}, 4, 1e-2), 14),
        "superseded-large-beta0.1": (_arm(old, "large-pairs", first, {"kl_weight": 0.1}, 4, 1e-2), 10),
    }
    return [Task("doctor", arm, SEED, _short(tree, epochs)) for arm, (tree, epochs) in arms.items()]


def _arm(
    study: dict[str, Any], scale: str, method: dict[str, Any], own: dict[str, Any], updates: int, learning_rate: float
) -> dict[str, Any]:
    tree = merged(study["base"], study["scales"][scale])
    training = {"updates_per_epoch": updates, "learning_rate": learning_rate}
    return merged(tree, {"objective": {**method, **own}, "training": training})


def _short(tree: dict[str, Any], epochs: int) -> dict[str, Any]:
    """A few epochs, evaluated on one image of each prompt: the curves are what is wanted."""
    evaluation = {"prompt_sets": {"train": "prompts/large-sample.jsonl"}, "images_per_prompt": 1, "kl": False}
    loop = {"epochs": epochs, "granularity": "fused", "evaluate_every": epochs}
    return merged(tree, {"loop": loop, "evaluation": evaluation})


def main() -> int:
    """Exit code 1 where a run failed."""
    missing = [task for task in tasks() if not task.result_in(HERE).exists()]
    codes = [run_task(task, folder=HERE) for task in missing]
    return 1 if any(codes) else 0


if __name__ == "__main__":
    sys.exit(main())
