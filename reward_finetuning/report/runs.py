"""Several policies: each against its run's pretrained model, and against the first where images pair up."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import MEASURES, Comparison, Row, compare, judged, metric_name, segment
from reward_finetuning.report.wording import verdict

COMBINED = "reward"
_ORDER = {COMBINED: 0} | {name: place for place, name in enumerate(MEASURES, start=2)}


@dataclass(frozen=True, slots=True)
class EvaluatedRun:
    """A policy and its images; a run's newest one, or one of an evaluation of its own."""

    name: str
    before: EvaluatedSamples | None
    """Of the run's pretrained model; None where the policy is held against the first one alone."""

    after: EvaluatedSamples
    weights: Mapping[str, float]
    """Scorer -> weight in the combined reward."""

    seed: int


@dataclass(frozen=True, slots=True)
class RunColumn:
    """What is known of one run."""

    name: str
    epoch: int
    means: Mapping[tuple[str, str], float]
    """(prompt set, reward or measure) -> mean over its images."""

    against_pretrained: Mapping[tuple[str, str], Row]
    """(prompt set, reward) -> after against before, of whole prompt sets."""

    against_first: Mapping[tuple[str, str], Row]
    """The same against the first run; empty for the first, and where `unpaired` says why."""

    by_category: Mapping[tuple[str, str, str], Row]
    """(prompt set, reward, category) -> the same against the first run, where a prompt set has several categories."""

    unpaired: str
    """Why its images cannot be held against the first run's; empty where they can."""

    verdict: str
    """One sentence: against the first run, or against its own pretrained model."""


@dataclass(frozen=True, slots=True)
class RunsComparison:
    """Runs as columns, (prompt set, reward) as rows."""

    columns: tuple[RunColumn, ...]
    rows: tuple[tuple[str, str], ...]

    @property
    def differences(self) -> list[Row]:
        """Every difference of a whole prompt set that is known, against a pretrained model or against the first."""
        known = (both for column in self.columns for both in (column.against_pretrained, column.against_first))
        return [row for rows in known for row in rows.values()]

    @property
    def verdicts(self) -> list[str]:
        """Against the first run where that is possible; the first run's own stands alone when nothing else can."""
        others = [column.verdict for column in self.columns[1:]]
        whole = others if all(not column.unpaired for column in self.columns) else [self.columns[0].verdict, *others]
        return [said for said in whole if said]


def runs_metrics(comparison: RunsComparison) -> dict[str, float]:
    """`eval/<policy>/<set>[/category/<category>]/<reward>/mean`; against the first `gain`, `gain_low`, `gain_high`."""
    metrics: dict[str, float] = {}
    for column in comparison.columns:
        of_policy = f"eval/{segment(column.name)}"
        for (prompt_set, reward), mean in column.means.items():
            metrics[f"{of_policy}/{segment(prompt_set)}/{segment(reward)}/mean"] = mean
        for row in (*column.against_first.values(), *column.by_category.values()):
            inside = metric_name(row, "").removeprefix("eval/")
            values = {"gain": row.gain.mean, "gain_low": row.gain.low, "gain_high": row.gain.high}
            if row.category is not None:
                values["mean"] = row.after
            found = {f"{of_policy}/{inside}{part}": value for part, value in values.items() if math.isfinite(value)}
            metrics |= found
    return metrics


def compare_runs(runs: Sequence[EvaluatedRun]) -> RunsComparison:
    """Compare the newest policies of at least two runs of different names."""
    # Runs that were trained on different rewards have no combined reward in common: then each scorer stands alone.
    combined = all(run.weights == runs[0].weights for run in runs)
    alike = runs if combined else [_by_scorer(run) for run in runs]
    columns = tuple(_column(run, alike[0], combined=combined) for run in alike)
    rows = list(dict.fromkeys(key for column in columns for key in column.means))
    return RunsComparison(columns, tuple(sorted(rows, key=lambda key: _rank(key, rows))))


def _rank(key: tuple[str, str], rows: list[tuple[str, str]]) -> tuple[int, int, str]:
    """Prompt sets in the order in which they were met; the combined reward first, what is no reward last."""
    sets = list(dict.fromkeys(prompt_set for prompt_set, _ in rows))
    return sets.index(key[0]), _ORDER.get(key[1], 1), key[1]


def _by_scorer(run: EvaluatedRun) -> EvaluatedRun:
    """One column a scorer: an evaluation leaves out the scorer that equals the combined reward to the letter."""

    def columns(samples: EvaluatedSamples) -> EvaluatedSamples:
        combined = samples.rewards[COMBINED]
        scorers = {name: samples.rewards.get(name, combined) for name in run.weights}
        return replace(samples, rewards={COMBINED: combined, **scorers})

    return replace(run, before=None if run.before is None else columns(run.before), after=columns(run.after))


def _column(run: EvaluatedRun, first: EvaluatedRun, *, combined: bool) -> RunColumn:
    own = None if run.before is None else compare(run.before, run.after)
    paired, unpaired = _against_first(run, first)
    rows = _whole(paired, combined=combined) if paired else {}
    said = ""
    if rows:
        said = _as_named(run.name, verdict(run.name, first.name, judged(rows.values())))
    elif own is not None:
        said = f"{run.name}: {own.verdict[0].lower()}{own.verdict[1:]}"
    return RunColumn(
        name=run.name,
        epoch=run.after.epoch,
        means=_means(run.after, combined=combined),
        against_pretrained={} if own is None else _whole(own, combined=combined),
        against_first=rows,
        by_category=_by_category(paired) if paired else {},
        unpaired=unpaired,
        verdict=said,
    )


def _means(samples: EvaluatedSamples, *, combined: bool) -> dict[tuple[str, str], float]:
    sets = np.asarray(samples.prompt_sets)
    return {
        (prompt_set, name): float(values[sets == prompt_set].mean())
        for prompt_set in dict.fromkeys(samples.prompt_sets)
        for name, values in (samples.rewards | samples.measures).items()
        if combined or name != COMBINED
    }


def _as_named(name: str, sentence: str) -> str:
    """A name keeps its small first letter even where it begins a sentence."""
    return name + sentence[len(name) :] if sentence.lower().startswith(name.lower()) else sentence


def _whole(comparison: Comparison, *, combined: bool) -> dict[tuple[str, str], Row]:
    return {
        (row.prompt_set, row.reward): row
        for row in comparison.rows
        if row.category is None and (combined or row.reward != COMBINED)
    }


def _by_category(comparison: Comparison) -> dict[tuple[str, str, str], Row]:
    return {(row.prompt_set, row.reward, row.category): row for row in comparison.rows if row.category is not None}


def _against_first(run: EvaluatedRun, first: EvaluatedRun) -> tuple[Comparison | None, str]:
    """The comparison, or why there is none."""
    if run is first:
        return None, ""
    if run.seed != first.seed:
        return None, f"its noise has seed {run.seed}, that of {first.name} has {first.seed}"
    try:
        return compare(*alike(first.after, run.after)), ""
    except ValueError as error:
        return None, str(error)


def alike(one: EvaluatedSamples, other: EvaluatedSamples) -> tuple[EvaluatedSamples, EvaluatedSamples]:
    """Both with the rewards that both have."""
    shared = one.rewards.keys() & other.rewards.keys()
    return _with_only(one, shared), _with_only(other, shared)


def _with_only(samples: EvaluatedSamples, columns: set[str]) -> EvaluatedSamples:
    return replace(samples, rewards={name: values for name, values in samples.rewards.items() if name in columns})
