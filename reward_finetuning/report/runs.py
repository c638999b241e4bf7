"""Several runs side by side: each against its own pretrained model, and against the first run where images pair up."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import Comparison, Row, compare, judged
from reward_finetuning.report.wording import verdict

COMBINED = "reward"


@dataclass(frozen=True, slots=True)
class EvaluatedRun:
    """A run and the images of its newest evaluation."""

    name: str
    before: EvaluatedSamples
    after: EvaluatedSamples
    weights: Mapping[str, float]
    """Scorer -> weight in the combined reward."""

    seed: int


@dataclass(frozen=True, slots=True)
class RunColumn:
    """What is known of one run."""

    name: str
    epoch: int
    against_pretrained: Mapping[tuple[str, str], Row]
    """(prompt set, reward) -> after against before, of whole prompt sets."""

    against_first: Mapping[tuple[str, str], Row]
    """The same against the first run; empty for the first, and where `unpaired` says why."""

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
    def verdicts(self) -> list[str]:
        """Against the first run where that is possible; the first run's own stands alone when nothing else can."""
        others = [column.verdict for column in self.columns[1:]]
        return others if all(not column.unpaired for column in self.columns) else [self.columns[0].verdict, *others]


def compare_runs(runs: Sequence[EvaluatedRun]) -> RunsComparison:
    """Compare the newest policies of at least two runs of different names."""
    # Runs that were trained on different rewards have no combined reward in common: then each scorer stands alone.
    combined = all(run.weights == runs[0].weights for run in runs)
    alike = runs if combined else [_by_scorer(run) for run in runs]
    columns = tuple(_column(run, alike[0], combined=combined) for run in alike)
    rows = list(dict.fromkeys(key for column in columns for key in column.against_pretrained))
    return RunsComparison(columns, tuple(sorted(rows, key=lambda key: _rank(key, rows))))


def _rank(key: tuple[str, str], rows: list[tuple[str, str]]) -> tuple[int, bool, str]:
    """Prompt sets in the order in which they were met; the combined reward first."""
    sets = list(dict.fromkeys(prompt_set for prompt_set, _ in rows))
    return sets.index(key[0]), key[1] != COMBINED, key[1]


def _by_scorer(run: EvaluatedRun) -> EvaluatedRun:
    """One column a scorer: an evaluation leaves out the scorer that equals the combined reward to the letter."""

    def columns(samples: EvaluatedSamples) -> EvaluatedSamples:
        combined = samples.rewards[COMBINED]
        scorers = {name: samples.rewards.get(name, combined) for name in run.weights}
        return replace(samples, rewards={COMBINED: combined, **scorers})

    return replace(run, before=columns(run.before), after=columns(run.after))


def _column(run: EvaluatedRun, first: EvaluatedRun, *, combined: bool) -> RunColumn:
    own = compare(run.before, run.after)
    paired, unpaired = _against_first(run, first)
    rows = _whole(paired, combined=combined) if paired else {}
    if rows:
        said = _as_named(run.name, verdict(run.name, first.name, judged(rows.values())))
    else:
        said = f"{run.name}: {own.verdict[0].lower()}{own.verdict[1:]}"
    return RunColumn(run.name, run.after.epoch, _whole(own, combined=combined), rows, unpaired, said)


def _as_named(name: str, sentence: str) -> str:
    """A name keeps its small first letter even where it begins a sentence."""
    return name + sentence[len(name) :] if sentence.lower().startswith(name.lower()) else sentence


def _whole(comparison: Comparison, *, combined: bool) -> dict[tuple[str, str], Row]:
    return {
        (row.prompt_set, row.reward): row
        for row in comparison.rows
        if row.category is None and (combined or row.reward != COMBINED)
    }


def _against_first(run: EvaluatedRun, first: EvaluatedRun) -> tuple[Comparison | None, str]:
    """The comparison, or why there is none."""
    if run is first:
        return None, ""
    if run.seed != first.seed:
        return None, f"its noise has seed {run.seed}, that of {first.name} has {first.seed}"
    shared = run.after.rewards.keys() & first.after.rewards.keys()
    try:
        return compare(_with_only(first.after, shared), _with_only(run.after, shared)), ""
    except ValueError as error:
        return None, str(error)


def _with_only(samples: EvaluatedSamples, columns: set[str]) -> EvaluatedSamples:
    return replace(samples, rewards={name: values for name, values in samples.rewards.items() if name in columns})
