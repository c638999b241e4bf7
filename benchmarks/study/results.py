"""The committed results, and the figures that claims are judged by."""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from scipy import stats


@dataclass(frozen=True)
class Gain:
    """Difference to the pretrained model on one prompt set, with a 95 % interval."""

    mean: float
    low: float
    high: float

    def __str__(self) -> str:
        if math.isnan(self.mean):
            return "none"
        return f"{self.mean:+.3f} ({self.low:+.3f} to {self.high:+.3f})".replace("-", "−")


class Result:
    """One run's result file."""

    def __init__(self, path: Path) -> None:
        self._content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        self.claim, self.arm = self._content["claim"], self._content["arm"]
        self.seed, self.seconds = self._content["seed"], self._content["seconds"]

    @property
    def error(self) -> str:
        """Why training stopped early; empty where it did not."""
        return str(self._content["error"])

    def curve(self, name: str) -> list[tuple[int, float]]:
        """(epoch, value) of a training metric."""
        return [(epoch, value) for epoch, value in self._content["curves"].get(name, [])]

    def gain(self, prompt_set: str = "train", reward: str = "reward", epoch: int | None = None) -> Gain:
        """Of the last evaluated epoch, or of `epoch`; NaN where there is none."""
        name = f"eval/{prompt_set}/{reward}/gain"
        parts = [dict(self._content["evaluations"].get(f"{name}{part}", [])) for part in ("", "_low", "_high")]
        at = max(parts[0], default=0) if epoch is None else epoch
        return Gain(*(part.get(at, math.nan) for part in parts))

    @cached_property
    def unstable(self) -> str:
        """Why the run counts as unstable by the rule of claim a; empty where it is stable."""
        if self.error:
            return "it stopped: a number was not finite"
        gain = self.gain()
        return f"the reward fell by {-gain.mean:.3f}" if gain.high < 0 else ""


class Arm:
    """All seeds of one arm."""

    def __init__(self, name: str, results: Sequence[Result]) -> None:
        self.name, self.results = name, sorted(results, key=lambda result: result.seed)

    @property
    def unstable(self) -> list[str]:
        """A reason for each seed that is unstable."""
        return [f"seed {result.seed}: {result.unstable}" for result in self.results if result.unstable]

    def gains(self, prompt_set: str = "train", reward: str = "reward", epoch: int | None = None) -> list[float]:
        """Mean gain of each seed."""
        return [result.gain(prompt_set, reward, epoch).mean for result in self.results]

    def gain(self, prompt_set: str = "train", reward: str = "reward", epoch: int | None = None) -> Gain:
        """Mean over seeds; the interval is Student's over seeds, or with a single seed that of its own run."""
        if len(self.results) == 1:
            return self.results[0].gain(prompt_set, reward, epoch)
        values = self.gains(prompt_set, reward, epoch)
        mean = sum(values) / len(values)
        error = float(stats.sem(values)) * float(stats.t.ppf(0.975, len(values) - 1))
        return Gain(mean, mean - error, mean + error)


def read_results(folder: Path) -> dict[str, dict[str, Arm]]:
    """claim -> arm -> its seeds."""
    found: dict[str, dict[str, list[Result]]] = {}
    for path in sorted(folder.glob("*/*.json")):
        result = Result(path)
        found.setdefault(result.claim, {}).setdefault(result.arm, []).append(result)
    return {claim: {arm: Arm(arm, each) for arm, each in arms.items()} for claim, arms in found.items()}
