"""The committed results, and the figures that claims are judged by."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scipy import stats


@dataclass(frozen=True)
class Gain:
    """A difference of mean rewards, with a 95 % interval; infinite bounds where one value leaves no spread."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "none"
        if math.isinf(self.low):
            return f"{self.mean:+.3f} (one seed)".replace("-", "−")
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})".replace("-", "−")


class Result:
    """One run's result file."""

    def __init__(self, path: Path) -> None:
        self._content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self.claim, self.arm = self._content["claim"], self._content["arm"]
        self.seed, self.seconds = self._content["seed"], self._content["seconds"]
        self.cpu_seconds = self._content["cpu_seconds"]
        self.settings: dict[str, Any] = self._content["settings"]

    @property
    def error(self) -> str:
        """Why training stopped early; empty where it did not."""
        return str(self._content["error"])

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(epoch, value) of a training metric."""
        return [(epoch, value) for epoch, value in self._content["curves"].get(name, [])]

    def gain(self, prompt_set: str = "train", reward: str = "reward", epoch: int | None = None) -> Gain:
        """Of the last evaluated epoch, or of `epoch`; NaN where there is none."""
        name = f"eval/{prompt_set}/{self._column(reward)}/gain"
        parts = [dict(self._content["evaluations"].get(f"{name}{part}", [])) for part in ("", "_low", "_high")]
        at = max(parts[0], default=0) if epoch is None else epoch
        return Gain(*(part.get(at, math.nan) for part in parts))

    def _column(self, reward: str) -> str:
        """A scorer that is the whole reward has no column of its own in an evaluation."""
        weights = self._content["settings"]["reward"]["weights"]
        return "reward" if {name: weight for name, weight in weights.items() if weight} == {reward: 1.0} else reward

    @cached_property
    def unstable(self) -> str:
        """Why the run counts as unstable by the rule of claim a; empty where it is stable."""
        if self.error:
            return "it stopped: a number was not finite"
        gain = self.gain()
        return f"the reward fell by {-gain.mean:.3f}" if gain.high < 0 else ""


class Arm:
    """All seeds of one arm that are there."""

    def __init__(self, name: str, results: Sequence[Result], num_seeds: int) -> None:
        self.name, self.results = name, sorted(results, key=lambda result: result.seed)
        self.is_complete = len(results) >= num_seeds

    @property
    def unstable(self) -> list[str]:
        """A reason for each seed that is unstable."""
        return [f"seed {result.seed}: {result.unstable}" for result in self.results if result.unstable]

    def gains(self, prompt_set: str = "train", reward: str = "reward", epoch: int | None = None) -> dict[int, float]:
        """Seed -> mean gain."""
        return {result.seed: result.gain(prompt_set, reward, epoch).mean for result in self.results}

    def gain(self, prompt_set: str = "train", reward: str = "reward", epoch: int | None = None) -> Gain:
        """Mean over seeds; the interval is Student's over seeds, or with a single seed that of its own run."""
        if len(self.results) == 1:
            return self.results[0].gain(prompt_set, reward, epoch)
        return over_seeds(list(self.gains(prompt_set, reward, epoch).values()))

    def last(self, metric: str) -> float:
        """Mean over seeds of a training metric's last value."""
        values = [result.curve(metric)[-1][1] for result in self.results]
        return sum(values) / len(values)


def over_seeds(values: Sequence[float]) -> Gain:
    """Student's interval of the mean of one value a seed."""
    mean = sum(values) / len(values)
    if len(values) == 1:
        return Gain(mean, -math.inf, math.inf)
    error = float(stats.sem(values)) * float(stats.t.ppf(0.975, len(values) - 1))
    return Gain(mean, mean - error, mean + error)


def difference(first: Arm, second: Arm, reward: str = "reward") -> Gain:
    """Gain of the first minus that of the second, paired by the seeds that both have."""
    ours, theirs = first.gains(reward=reward), second.gains(reward=reward)
    return over_seeds([ours[seed] - theirs[seed] for seed in sorted(ours.keys() & theirs.keys())])


def read_results(folder: Path, num_seeds: Mapping[tuple[str, str], int]) -> dict[str, dict[str, Arm]]:
    """claim -> arm -> its seeds; `num_seeds` says how many an arm of a claim has when it is complete."""
    found: dict[str, dict[str, list[Result]]] = {}
    for path in sorted(folder.glob("*/*.json")):
        result = Result(path)
        found.setdefault(result.claim, {}).setdefault(result.arm, []).append(result)
    return {
        claim: {arm: Arm(arm, each, num_seeds.get((claim, arm), 1)) for arm, each in arms.items()}
        for claim, arms in found.items()
    }
