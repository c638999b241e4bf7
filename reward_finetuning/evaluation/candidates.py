"""The policies that an evaluation of its own names, found in their run directories."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from reward_finetuning.config import EvaluationRun, RunConfig, UserError
from reward_finetuning.config.base import Frozen
from reward_finetuning.config.evaluation_run import EvaluatedPolicy
from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.reward import RewardConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.config.sections.tracking import TrackingConfig
from reward_finetuning.evaluation.subjects import NOISE, Subject
from reward_finetuning.policy.source import model_digest
from reward_finetuning.server_errors import one_line
from reward_finetuning.storage import Reference, RunDirectory, open_store
from reward_finetuning.storage.artifacts.policies import kept_epochs, policy_of_epoch
from reward_finetuning.storage.run_directory import RUN

PRETRAINED = "pretrained"


class Candidate(Frozen):
    """One policy as it was found when the evaluation was planned: `latest` has become an epoch."""

    name: str
    run: str | None
    """Run directory; None: the pretrained model."""

    policy: Reference


@dataclass(frozen=True, slots=True)
class Source:
    """A run that has policies."""

    uri: str
    config: RunConfig
    digest: str
    """Of its base model."""


def find_candidates(asked: EvaluationRun) -> list[Candidate]:
    """All policies that are meant, in order, under names of their own.

    Raises:
        UserError: two have one name, or a run has no such policy.
    """
    found = [candidate for policy in asked.policies for candidate in _found(policy)]
    names = [candidate.name for candidate in found]
    if twice := next((name for name in names if names.count(name) > 1), None):
        raise UserError(f"two policies are called {twice!r}: give one of them another name")
    return found


def evaluation_directory(asked: EvaluationRun) -> RunDirectory:
    """Where the evaluation goes, under the settings by which all policies are drawn and scored.

    Raises:
        UserError: the runs do not agree on the base model, or on how images are drawn; it says what differs.
    """
    sources = [_source(uri) for uri in dict.fromkeys(p.run for p in asked.policies) if uri is not None]
    model = asked.model or sources[0].config.model
    _one_model(model, sources)
    sampling = asked.sampling or _agreed(sources)
    config = RunConfig(
        name=asked.name,
        run_root=asked.run_root,
        seed=asked.seed,
        model=ModelConfig(**model.model_dump(include={"source", "revision", "variant", "device"})),
        # What training alone reads must not make one evaluation differ from another.
        sampling=SamplingConfig(**sampling.model_dump(exclude={"rollouts", "images_per_prompt"})),
        reward=asked.reward or (sources[0].config.reward if sources else RewardConfig()),
        evaluation=asked.evaluation,
        tracking=TrackingConfig(enabled=False),
    )
    return RunDirectory(config)


def subjects_of(directory: RunDirectory, candidates: Sequence[Candidate]) -> list[Subject]:
    """The candidates under the evaluation's settings."""
    return [_subject(directory, candidate) for candidate in candidates]


def _found(policy: EvaluatedPolicy) -> Iterator[Candidate]:
    if policy.run is None:
        yield Candidate(name=policy.name or PRETRAINED, run=None, policy=Reference(epoch=0))
        return
    source = _source(policy.run)
    run, name = RunDirectory(source.config), policy.name or source.config.name
    if policy.epoch != "all":
        epoch = None if policy.epoch == "latest" else policy.epoch
        yield Candidate(name=name, run=source.uri, policy=policy_of_epoch(run, epoch))
        return
    kept = kept_epochs(run)
    if not kept:
        raise UserError(f"{source.uri} has no policy: it has trained no epoch yet")
    for epoch in kept:
        yield Candidate(name=f"{name}-epoch-{epoch}", run=source.uri, policy=policy_of_epoch(run, epoch))


def _source(uri: str) -> Source:
    store = open_store(uri)
    described = store.read_json(RUN)
    if described is None:
        raise UserError(f"policies: {uri} is no run directory, it has no {RUN}")
    root, _, name = store.uri.rpartition("/")
    try:
        config = RunConfig.model_validate(described["config"] | {"run_root": root, "name": name})
        return Source(store.uri, config, str(described["fingerprint"]["model.digest"]))
    except (KeyError, ValidationError) as error:
        raise UserError(f"{uri}/{RUN} cannot be read by this version: {one_line(error)}") from None


def _one_model(model: ModelConfig, sources: Sequence[Source]) -> None:
    digest = model_digest(model)
    for source in sources:
        if source.digest != digest:
            raise UserError(
                f"policies of different base models cannot be compared: {source.uri} was trained from "
                f"{source.config.model.source} ({source.digest[:12]}), the evaluation's model is "
                f"{model.source} ({digest[:12]})"
            )


def _agreed(sources: Sequence[Source]) -> SamplingConfig:
    """How all runs draw.

    Raises:
        UserError: they draw differently.
    """
    if not sources:
        return SamplingConfig()
    first = sources[0]
    for other in sources[1:]:
        differing = [key for key in NOISE if _of(first, key) != _of(other, key)]
        if differing:
            said = "; ".join(f"{key} is {_of(first, key)!r} and {_of(other, key)!r}" for key in differing)
            raise UserError(
                f"{first.uri} and {other.uri} draw images differently ({said}): "
                "give the evaluation a section sampling of its own"
            )
    return first.config.sampling


def _of(source: Source, key: str) -> Any:
    return getattr(source.config.sampling, key)


def _subject(directory: RunDirectory, candidate: Candidate) -> Subject:
    config, source = directory.config, directory
    if candidate.run is not None:
        own = _source(candidate.run).config
        model = own.model.model_copy(
            update=config.model.model_dump(include={"source", "revision", "variant", "device"})
        )
        changed = {"model": model, "sampling": config.sampling, "evaluation": config.evaluation}
        source = RunDirectory(own.model_copy(update=changed))
    weights = str(candidate.policy.facts.get("weights_sha256", ""))[:12] or PRETRAINED
    return Subject(candidate.name, f"policies/{candidate.name}/{weights}", source, candidate.policy)
