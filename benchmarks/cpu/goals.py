"""Ratios of the measured costs, and the goals that they are held against."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

Result = dict[str, Any]
Costs = Sequence[dict[str, float]]

OURS, TRL, STOCK = "ours", "TRL", "diffusers"
SPLIT, FUSED = ("rft run RUN -o loop.granularity=split", "rft run RUN -o loop.granularity=fused")
NUM_EPOCHS = 3

NETWORK = "passes of our network alone"
"""What is left of an epoch if all else costs nothing: how fast an epoch that evaluates all cells can be."""


@dataclass(frozen=True, slots=True)
class Ratio:
    """A quotient of the medians of two arms, and the range of the quotients of single rounds."""

    middle: float
    lowest: float
    highest: float

    def __str__(self) -> str:
        return f"{self.middle:.2f} ({self.lowest:.2f} to {self.highest:.2f})"


def ratio(dividend: Costs, divisor: Costs, key: str = "cpu") -> Ratio:
    """How many times the cost of `divisor` the `dividend` has; the arms alternated, so rounds are pairs."""
    above, below = ([cost[key] for cost in costs] for costs in (dividend, divisor))
    pairs = [one / other for one, other in zip(above, below, strict=True)]
    return Ratio(median(above) / median(below), min(pairs), max(pairs))


def best_batch(group: dict[str, Costs], side: str) -> int:
    """The batch of a side's arms `SIDE, BATCH` that has the lowest median of CPU time."""
    arms = {name: costs for name, costs in group.items() if name.startswith(f"{side}, ") and name.count(",") == 1}
    best = min(arms, key=lambda name: median(cost["cpu"] for cost in arms[name]))
    return int(best.split(", ")[1])


@dataclass(frozen=True, slots=True)
class Goal:
    """What is to be shown."""

    text: str
    limit: float
    figure: Callable[[Result], Ratio | float]
    """Raises KeyError where the result lacks the measurement."""

    at_most: bool = False

    def row(self, result: Result) -> tuple[str, str, str, str]:
        """Text, limit, figure, and whether it is met."""
        bound = f"{'≤' if self.at_most else '≥'} {self.limit:g}"
        try:
            figure = self.figure(result)
        except KeyError:
            return self.text, bound, "not measured", ""
        value = figure.middle if isinstance(figure, Ratio) else figure
        is_met = value <= self.limit if self.at_most else value >= self.limit
        shown = str(figure) if isinstance(figure, Ratio) else f"{figure:.3g}"
        return self.text, bound, shown, "yes" if is_met else "**no**"


def _at(group: str, batch: int | None = None, other: str = TRL) -> Callable[[Result], Ratio]:
    """The speed of ours as a multiple of another's, at one batch or at each one's best."""

    def figure(result: Result) -> Ratio:
        arms = result[group]
        first, second = (f"{side}, {batch or best_batch(arms, side)}" for side in (other, OURS))
        return ratio(arms[first], arms[second])

    return figure


def _arms(group: str, dividend: str, divisor: str) -> Callable[[Result], Ratio]:
    return lambda result: ratio(result[group][dividend], result[group][divisor])


def _memory(result: Result) -> tuple[float, float]:
    """Megabytes at the fewest and the most steps, of the most images."""
    rows = result["memory by images and T"]
    most = max(row["images"] for row in rows)
    own = sorted((row["steps"], row["above"]) for row in rows if row["images"] == most)
    return own[0][1], own[-1][1]


def _command(name: str) -> Callable[[Result], float]:
    return lambda result: median(result["commands"][name])


def _split(result: Result) -> float:
    split, fused = (float(median(result["commands"][name])) for name in (SPLIT, FUSED))
    return (split - fused) / NUM_EPOCHS


GOALS = (
    Goal("Sampling as shipped for DDPO, 8 images per batch, speed against TRL", 1.05, _at("sampling", 8)),
    Goal("Sampling as shipped for DDPO, best batches, speed against TRL", 1.05, _at("sampling")),
    Goal("Training of an epoch, 1 update, best batches, speed against TRL", 1.0, _at("training")),
    Goal("The same, compiled", 1.1, _arms("training, compiled", TRL, f"{OURS}, compiled")),
    Goal("DDPO epoch, 10 updates, best batches, speed against TRL", 1.25, _arms("epoch, 10 updates", TRL, OURS)),
    Goal("Whole DDPO epoch, 1 update, best batches, speed against TRL", 1.1, _arms("epoch, 1 update", TRL, OURS)),
    Goal(
        "PRDP's epoch against DDPO's with the least reference, 1 update",
        1.25,
        _arms("epoch, 1 update", f"{OURS}, prdp", f"{OURS}, ddpo-least"),
        at_most=True,
    ),
    Goal(
        "The same, 10 updates",
        1.10,
        _arms("epoch, 10 updates", f"{OURS}, prdp", f"{OURS}, ddpo-least"),
        at_most=True,
    ),
    Goal(
        "Peak above idle, 512 images of 4 × 64 × 64, T = 50, MB", 250, lambda result: _memory(result)[1], at_most=True
    ),
    Goal("The same against T = 10", 1.1, lambda result: _memory(result)[1] / _memory(result)[0], at_most=True),
    Goal(
        "Peak of an epoch of the built-in model, 8 per batch, against TRL",
        1.0,
        lambda result: result["memory of an epoch"][OURS] / result["memory of an epoch"][TRL],
        at_most=True,
    ),
    Goal(
        "Share of the network in an epoch's CPU time",
        0.92,
        lambda result: median(cost["share"] for cost in result["network share"][OURS]),
    ),
    Goal("`rft --help`, CPU seconds", 0.5, _command("rft --help"), at_most=True),
    Goal("`rft status`, CPU seconds", 1.0, _command("rft status RUN"), at_most=True),
    Goal("An epoch of split above one of fused, CPU seconds", 6.0, _split, at_most=True),
)
