"""An evaluation as its tasks see it: who is compared, under which settings, in which directory."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from reward_finetuning.config import EvaluationRun, parse_run_or_evaluation
from reward_finetuning.evaluation.candidates import Candidate, evaluation_directory, find_candidates, subjects_of
from reward_finetuning.evaluation.subjects import Subject
from reward_finetuning.policy.source import check_model, model_digest
from reward_finetuning.prompts import read_prompts
from reward_finetuning.rewards.scorer import check_scorers, scorer_digests
from reward_finetuning.storage import Reference, RunDirectory, read_reference
from reward_finetuning.tracking import code_version


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What is compared."""

    run: RunDirectory
    """Gets the artifacts; its settings are the evaluation's."""

    subjects: Sequence[Subject]
    """The first is what the others are held against."""

    stands_alone: bool
    """Of any policies, and not a run's own of one of its epochs."""


def open_evaluation(config: str, policy: str) -> Evaluation:
    """From what a task is given.

    Args:
        config: a RunConfig or an EvaluationRun, as JSON text.
        policy: file with the reference to the policy, or to the policies, that `plan_evaluation` wrote.
    """
    asked, reference = parse_run_or_evaluation(config), read_reference(policy)
    if isinstance(asked, EvaluationRun):
        run = evaluation_directory(asked)
        run.check()
        return Evaluation(run, subjects_of(run, candidates_in(reference)), stands_alone=True)
    run = RunDirectory(asked)
    run.check()
    subjects = [Subject.of_run(run, each) for each in (Reference(epoch=0), reference)]
    return Evaluation(run, subjects, stands_alone=False)


def begin_evaluation(asked: EvaluationRun) -> Reference:
    """Check everything, and write (or compare) run.json; returns a reference that holds the policies as found now."""
    candidates, run = find_candidates(asked), evaluation_directory(asked)
    config = run.config
    check_scorers(config.reward)
    check_model(config.model, config.sampling)
    for source in config.evaluation.prompt_sets.values():
        read_prompts(source)
    digests = {"model.digest": model_digest(config.model)} | scorer_digests(config.reward)
    run.begin(digests, {"code_version": code_version()})
    return Reference(epoch=0, facts={"policies": [candidate.model_dump(mode="json") for candidate in candidates]})


def candidates_in(reference: Reference) -> list[Candidate]:
    """What `begin_evaluation` put into a reference."""
    return [Candidate.model_validate(each) for each in reference.facts["policies"]]
