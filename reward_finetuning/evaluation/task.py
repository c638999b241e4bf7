"""An evaluation as its tasks see it: which policies are compared, under which settings, in which directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reward_finetuning.config import EvaluationRun, parse_run_or_evaluation
from reward_finetuning.evaluation.candidates import Candidate, evaluation_directory, find_candidates, subjects_of
from reward_finetuning.evaluation.subjects import Subject
from reward_finetuning.inputs import check_inputs
from reward_finetuning.policy.pretrained.source import model_digests
from reward_finetuning.rewards.scorer import scorer_digests
from reward_finetuning.storage import Reference, RunDirectory, read_reference
from reward_finetuning.storage.documents import as_record, entry
from reward_finetuning.tracking import code_version


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is compared."""

    run: RunDirectory
    """Gets the artifacts; its settings are the evaluation's."""

    subjects: Sequence[Subject]
    """The others are compared with the first."""

    stands_alone: bool
    """An EvaluationRun; False: the evaluation of an epoch by its own run."""


def open_evaluation(config: str, policy: str) -> Evaluation:
    """From what a task is given.

    Args:
        config: a RunConfig or an EvaluationRun, as JSON text.
        policy: file with the reference to the policy, or to the policies, that `plan_evaluation` wrote.
    """
    parsed, reference = parse_run_or_evaluation(config), read_reference(policy)
    if isinstance(parsed, EvaluationRun):
        run = evaluation_directory(parsed)
        run.check()
        return Evaluation(run, subjects_of(run, candidates_in(reference)), stands_alone=True)
    run = RunDirectory(parsed)
    run.check()
    subjects = [Subject.of_run(run, each) for each in (Reference(epoch=0), reference)]
    return Evaluation(run, subjects, stands_alone=False)


def begin_evaluation(evaluation: EvaluationRun) -> Reference:
    """Check all inputs and write (or compare) run.json; returns a reference with the policies, `latest` resolved."""
    candidates = find_candidates(evaluation)
    run = evaluation_directory(evaluation)
    check_inputs(run.config, training=False)
    digests = model_digests(run.config.model) | scorer_digests(run.config.reward)
    run.begin(digests, {"code_version": code_version()})
    return Reference(epoch=0, facts={"policies": [candidate.model_dump(mode="json") for candidate in candidates]})


def candidates_in(reference: Reference) -> list[Candidate]:
    """The policies in a reference that `begin_evaluation` returned."""
    policies = entry(reference.facts, "policies", list, "the reference to the policies")
    return [as_record(Candidate, each, "the reference to the policies") for each in policies]
