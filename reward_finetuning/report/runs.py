"""Comparison of several policies: with the pretrained model of their run, and with the first policy."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import MEASURES, Comparison, Row, compare, findings, metric_name, segment
from reward_finetuning.report.formatting import verdict

COMBINED = "reward"
_ORDER = {COMBINED: 0} | {name: place for place, name in enumerate(MEASURES, start=2)}


@dataclass(frozen=True, slots=True)
class EvaluatedRun:
    """A policy and its images: the newest policy of a run, or a policy of an evaluation file."""

    name: str
    before: EvaluatedSamples | None
    """Images of the pretrained model; None if the policy is compared only with the first policy."""

    after: EvaluatedSamples
    weights: Mapping[str, float]
    """Scorer -> weight in the combined reward."""

    seed: int


@dataclass(frozen=True, slots=True)
class RunColumn:
    """Results of one run."""

    name: str
    epoch: int
    means: Mapping[tuple[str, str], float]
    """(prompt set, reward or measure) -> mean over its images."""

    against_pretrained: Mapping[tuple[str, str], Row]
    """(prompt set, reward) -> comparison with the pretrained model, for whole prompt sets."""

    against_first: Mapping[tuple[str, str], Row]
    """The same comparison with the first run; empty for the first run, and if `unpaired` is not empty."""

    by_category: Mapping[tuple[str, str, str], Row]
    """(prompt set, reward, category) -> comparison with the first run, for prompt sets with several categories."""

    unpaired: str
    """Reason why its images cannot be compared with those of the first run; empty if they can."""

    verdict: str
    """One sentence: comparison with the first run, or with its pretrained model."""


@dataclass(frozen=True, slots=True)
class RunsComparison:
    """Runs as columns, (prompt set, reward) as rows."""

    columns: tuple[RunColumn, ...]
    rows: tuple[tuple[str, str], ...]

    @property
    def differences(self) -> list[Row]:
        """All comparisons on whole prompt sets, with a pretrained model or with the first run."""
        tables = (table for column in self.columns for table in (column.against_pretrained, column.against_first))
        return [row for table in tables for row in table.values()]

    @property
    def verdicts(self) -> list[str]:
        """Verdicts against the first run. If a run is unpaired, the verdict of the first run comes first."""
        sentences = [column.verdict for column in self.columns[1:]]
        if any(column.unpaired for column in self.columns):
            sentences.insert(0, self.columns[0].verdict)
        return [sentence for sentence in sentences if sentence]


def runs_metrics(comparison: RunsComparison) -> dict[str, float]:
    """`eval/<policy>/<set>[/category/<category>]/<reward>/mean`; against the first `gain`, `gain_low`, `gain_high`."""
    metrics: dict[str, float] = {}
    for column in comparison.columns:
        of_policy = f"eval/{segment(column.name)}"
        for (prompt_set, reward), mean in column.means.items():
            metrics[f"{of_policy}/{segment(prompt_set)}/{segment(reward)}/mean"] = mean
        for row in (*column.against_first.values(), *column.by_category.values()):
            name = metric_name(row, "").removeprefix("eval/")
            values = {"gain": row.gain.mean, "gain_low": row.gain.low, "gain_high": row.gain.high}
            if row.category is not None:
                values["mean"] = row.after
            metrics |= {f"{of_policy}/{name}{part}": value for part, value in values.items() if math.isfinite(value)}
    return metrics


def compare_runs(runs: Sequence[EvaluatedRun]) -> RunsComparison:
    """Compare the newest policies of at least two runs of different names."""
    # Runs with different reward weights have no common combined reward. They are compared by scorer.
    combined = all(run.weights == runs[0].weights for run in runs)
    comparable = runs if combined else [_by_scorer(run) for run in runs]
    columns = tuple(_column(run, comparable[0], combined=combined) for run in comparable)
    rows = list(dict.fromkeys(key for column in columns for key in column.means))
    return RunsComparison(columns, tuple(sorted(rows, key=lambda key: _rank(key, rows))))


def _rank(key: tuple[str, str], rows: list[tuple[str, str]]) -> tuple[int, int, str]:
    """Sort key: prompt sets in order of appearance; the combined reward first, measures last."""
    sets = list(dict.fromkeys(prompt_set for prompt_set, _ in rows))
    return sets.index(key[0]), _ORDER.get(key[1], 1), key[1]


def _by_scorer(run: EvaluatedRun) -> EvaluatedRun:
    """Add a column per scorer. An evaluation omits a scorer that equals the combined reward."""

    def columns(samples: EvaluatedSamples) -> EvaluatedSamples:
        combined = samples.rewards[COMBINED]
        scorers = {name: samples.rewards.get(name, combined) for name in run.weights}
        return replace(samples, rewards={COMBINED: combined, **scorers})

    return replace(run, before=None if run.before is None else columns(run.before), after=columns(run.after))


def _column(run: EvaluatedRun, first: EvaluatedRun, *, combined: bool) -> RunColumn:
    against_pretrained = None if run.before is None else compare(run.before, run.after)
    against_first, unpaired = _against_first(run, first)
    rows = _whole(against_first, combined=combined) if against_first else {}
    sentence = ""
    if rows:
        sentence = _with_name_unchanged(run.name, verdict(run.name, first.name, findings(rows.values())))
    elif against_pretrained is not None:
        own = against_pretrained.verdict
        sentence = f"{run.name}: {own[0].lower()}{own[1:]}"
    return RunColumn(
        name=run.name,
        epoch=run.after.epoch,
        means=_means(run.after, combined=combined),
        against_pretrained={} if against_pretrained is None else _whole(against_pretrained, combined=combined),
        against_first=rows,
        by_category=_by_category(against_first) if against_first else {},
        unpaired=unpaired,
        verdict=sentence,
    )


def _means(samples: EvaluatedSamples, *, combined: bool) -> dict[tuple[str, str], float]:
    sets = np.asarray(samples.prompt_sets)
    return {
        (prompt_set, name): float(values[sets == prompt_set].mean())
        for prompt_set in dict.fromkeys(samples.prompt_sets)
        for name, values in (samples.rewards | samples.measures).items()
        if combined or name != COMBINED
    }


def _with_name_unchanged(name: str, sentence: str) -> str:
    """A sentence that starts with a name, with the first letter of the name unchanged."""
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
    """The comparison, or the reason why there is none."""
    if run is first:
        return None, ""
    if run.seed != first.seed:
        return None, f"its noise has seed {run.seed}, and that of {first.name} has seed {first.seed}"
    try:
        return compare(*with_shared_rewards(first.after, run.after)), ""
    except ValueError as error:
        return None, str(error)


def with_shared_rewards(first: EvaluatedSamples, second: EvaluatedSamples) -> tuple[EvaluatedSamples, EvaluatedSamples]:
    """Both samples, restricted to the rewards that both have."""
    shared = first.rewards.keys() & second.rewards.keys()
    return _with_only(first, shared), _with_only(second, shared)


def _with_only(samples: EvaluatedSamples, columns: set[str]) -> EvaluatedSamples:
    return replace(samples, rewards={name: values for name, values in samples.rewards.items() if name in columns})
