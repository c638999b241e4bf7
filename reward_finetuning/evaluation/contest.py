"""Challenger against champion: whether it is better on the same prompts and noise, with 95 % confidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from reward_finetuning.config import ArtifactError
from reward_finetuning.evaluation.objections import find_fallen_guards, find_objections
from reward_finetuning.evaluation.reports import noise_of_fingerprint, read_scores, report_name
from reward_finetuning.evaluation.subjects import NOISE, Subject
from reward_finetuning.policy.warm_start import DIGEST
from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.report.comparison import Comparison, as_metrics, compare
from reward_finetuning.storage import Reference, RunDirectory, open_store
from reward_finetuning.storage.run_directory import read_description

_PRETRAINED = "the pretrained model"

# Settings of the fingerprint on which the evaluation's noise and rewards depend.
_YARDSTICK = ("seed", "reward.")


@dataclass(frozen=True, slots=True)
class Champion:
    """The policy to beat."""

    label: str
    run_directory: str
    epoch: int
    report: str
    """Report artifact of that run directory."""

    weights_sha256: str


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether the challenger wins, and why."""

    objections: tuple[str, ...]
    reason: str


def judge(run: RunDirectory, challenger: Reference, champion: Champion | None) -> Decision:
    """Compare a policy of the run with the champion, and its guard rewards with the pretrained model too.

    Without the second comparison, each promotion could cost another guard margin. A first model has to beat the
    pretrained one.

    Raises:
        ArtifactError: the challenger was not evaluated.
    """
    name = report_name(run, challenger.epoch)
    after = read_scores(run.uri, name)
    if after is None:
        raise ArtifactError(f"{run.uri}/{name} is absent: evaluate the policy first")
    rival = _PRETRAINED if champion is None else champion.label
    try:
        before = _pretrained_scores(run) if champion is None else _champions_scores(run, champion)
        comparison = _comparison(before, after)
    except ValueError as error:
        return _refused(f"it cannot be compared with {rival}: {error}")
    objections = [*find_objections(run.config, as_metrics(comparison))]
    if champion is not None:
        objections += _below_the_floor(run, after)
    if objections:
        return _refused(*objections)
    first = f"epoch {challenger.epoch} is the first model; " if champion is None else ""
    return Decision((), f"{first}Against {rival}: {comparison.verdict}")


def _below_the_floor(run: RunDirectory, after: EvaluatedSamples) -> list[str]:
    """The guard rewards that may have fallen too far below the pretrained model's."""
    if not run.config.promotion.guard_margins:
        return []
    try:
        metrics = as_metrics(_comparison(_pretrained_scores(run), after))
    except ValueError as error:
        return [f"its guard rewards cannot be compared with {_PRETRAINED}: {error}"]
    return [f"against {_PRETRAINED}, {objection}" for objection in find_fallen_guards(run.config, metrics)]


def _refused(*objections: str) -> Decision:
    return Decision(objections, "; ".join(objections))


def _comparison(before: EvaluatedSamples, after: EvaluatedSamples) -> Comparison:
    _check_same_size(before, after)
    return compare(before, after)


def _pretrained_scores(run: RunDirectory) -> EvaluatedSamples:
    """The pretrained model's, under the run's own evaluation; ValueError: it was not evaluated."""
    from reward_finetuning.evaluation.parts import join, parts_of  # begin_retraining needs no tensors

    if run.config.warm_start is None:
        scores = read_scores(run.uri, report_name(run, 0))
        if scores is None:
            raise ValueError("it was not evaluated")
        return scores
    floor = Subject.floor_of(run)
    if floor is None or any(run.store.manifest(part.name) is None for part in parts_of(run, floor)):
        raise ValueError("it was not evaluated")
    return join(run, floor)


def _champions_scores(run: RunDirectory, champion: Champion) -> EvaluatedSamples:
    own_start = read_scores(run.uri, report_name(run, 0))
    if own_start is not None and run.fingerprinted().get(DIGEST) == champion.weights_sha256:
        return own_start  # this run began at the champion, and evaluated it on its own prompts
    own, theirs = run.describe(), read_description(open_store(champion.run_directory))
    scores = read_scores(champion.run_directory, champion.report)
    if own is None or theirs is None or scores is None:
        raise ValueError(f"its report {champion.run_directory}/{champion.report} is gone")
    ours, other = _yardstick(own["fingerprint"]), _yardstick(theirs["fingerprint"])
    differing = sorted(key for key in ours.keys() | other.keys() if ours.get(key) != other.get(key))
    if differing:
        differences = "; ".join(f"{key} is {other.get(key)!r} there and {ours.get(key)!r} here" for key in differing)
        raise ValueError(f"it was evaluated with other settings ({differences})")
    return scores


def _yardstick(fingerprint: Mapping[str, Any]) -> dict[str, Any]:
    noise = tuple(f"sampling.{setting}." for setting in NOISE)
    settings = {
        key: value for key, value in fingerprint.items() if key.startswith(_YARDSTICK) or f"{key}.".startswith(noise)
    }
    return settings | {"evaluation noise": noise_of_fingerprint(fingerprint)}


def _check_same_size(before: EvaluatedSamples, after: EvaluatedSamples) -> None:
    """Pictures of another size come from latents of another shape, so from other noise under the same key."""
    sizes = [f"{width} × {height}" for height, width in (before.image_size, after.image_size)]
    if sizes[0] != sizes[1]:
        raise ValueError(f"its pictures are {sizes[0]} pixels, here they are {sizes[1]}")
