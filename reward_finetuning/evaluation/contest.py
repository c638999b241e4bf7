"""Challenger against champion: whether the one is surely better than the other on the same prompts and noise."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reward_finetuning.config import ArtifactError
from reward_finetuning.evaluation.objections import find_objections
from reward_finetuning.evaluation.reports import read_scores, report_name
from reward_finetuning.evaluation.subjects import NOISE
from reward_finetuning.policy.warm_start import DIGEST
from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import as_metrics, compare
from reward_finetuning.storage import Reference, RunDirectory, open_store
from reward_finetuning.storage.run_directory import RUN

# Settings of the fingerprint on which the evaluation's noise and rewards depend.
_YARDSTICK = ("seed", "reward.")


@dataclass(frozen=True, slots=True)
class Champion:
    """The policy to beat."""

    label: str
    run_directory: str
    epoch: int
    report: str  # report artifact of that run directory
    weights_sha256: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the challenger wins, and why."""

    objections: tuple[str, ...]
    reason: str


def judge(run: RunDirectory, challenger: Reference, champion: Champion | None) -> Decision:
    """Hold a policy of the run against the champion; a first model wins.

    Raises:
        ArtifactError: the challenger was not evaluated.
    """
    if champion is None:
        return Decision((), f"epoch {challenger.epoch} is the first model")
    after = read_scores(run.uri, name := report_name(run, challenger.epoch))
    if after is None:
        raise ArtifactError(f"{run.uri}/{name} is absent: evaluate the policy first")
    try:
        before = _champions_scores(run, champion)
        _same_noise(before, after)
        comparison = compare(before, after)
    except ValueError as error:
        return _refused((f"it cannot be compared with {champion.label}: {error}",))
    objections = tuple(find_objections(run.config, as_metrics(comparison)))
    return _refused(objections) if objections else Decision((), f"Against {champion.label}: {comparison.verdict}")


def _refused(objections: tuple[str, ...]) -> Decision:
    return Decision(objections, "; ".join(objections))


def _champions_scores(run: RunDirectory, champion: Champion) -> EvaluatedSamples:
    own_start = read_scores(run.uri, report_name(run, 0))
    if own_start is not None and run.fingerprinted().get(DIGEST) == champion.weights_sha256:
        return own_start  # this run began at the champion, and evaluated it on its own prompts
    own, theirs = run.describe(), open_store(champion.run_directory).read_json(RUN)
    scores = read_scores(champion.run_directory, champion.report)
    if own is None or theirs is None or scores is None:
        raise ValueError(f"its report {champion.run_directory}/{champion.report} is gone")
    ours, other = _yardstick(own["fingerprint"]), _yardstick(theirs["fingerprint"])
    differing = sorted(key for key in ours.keys() | other.keys() if ours.get(key) != other.get(key))
    if differing:
        said = "; ".join(f"{key} is {other.get(key)!r} there and {ours.get(key)!r} here" for key in differing)
        raise ValueError(f"it was evaluated otherwise ({said})")
    return scores


def _yardstick(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    noise = {f"sampling.{setting}" for setting in NOISE}
    return {key: value for key, value in fingerprint.items() if key.startswith(_YARDSTICK) or key in noise}


def _same_noise(before: EvaluatedSamples, after: EvaluatedSamples) -> None:
    """Pictures of another size come from latents of another shape, so from other noise under the same key."""
    sizes = [f"{width} × {height}" for height, width in (before.image_size, after.image_size)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"its pictures are {sizes[0]} pixels, here they are {sizes[1]}")
