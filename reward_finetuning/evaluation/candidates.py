"""The policies of an evaluation file, resolved in their run directories."""

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
from reward_finetuning.policy.pretrained.source import model_digest
from reward_finetuning.server_errors import one_line
from reward_finetuning.storage import Reference, RunDirectory, open_store
from reward_finetuning.storage.artifacts.policies import kept_epochs, policy_of_epoch
from reward_finetuning.storage.run_directory import RUN, read_description

PRETRAINED = "pretrained"


class Candidate(Frozen):
    """One policy of a planned evaluation; `latest` is resolved to an epoch."""

    name: str
    run: str | None
    """Run directory; None for the pretrained model."""

    policy: Reference


@dataclass(frozen=True, slots=True)
class Source:
    """A run whose policies are evaluated."""

    uri: str
    config: RunConfig
    digest: str
    """Digest of its base model."""


def find_candidates(settings: EvaluationRun) -> list[Candidate]:
    """All policies of the evaluation, in order, with unique names.

    Raises:
        UserError: two policies have the same name, or a run does not have the policy.
    """
    candidates = [candidate for policy in settings.policies for candidate in _candidates(policy)]
    names = [candidate.name for candidate in candidates]
    duplicate = next((name for name in names if names.count(name) > 1), None)
    if duplicate is not None:
        raise UserError(f"two policies have the name {duplicate!r}: give one of them another name")
    return candidates


def evaluation_directory(settings: EvaluationRun) -> RunDirectory:
    """The directory of the evaluation, with the settings that all policies use for sampling and scoring.

    Raises:
        UserError: the runs have different base models or different sampling settings; the message names the difference.
    """
    sources = [_source(uri) for uri in dict.fromkeys(p.run for p in settings.policies) if uri is not None]
    model = settings.model or sources[0].config.model
    _check_base_models(model, sources)
    sampling = settings.sampling or _common_sampling(sources)
    config = RunConfig(
        name=settings.name,
        run_root=settings.run_root,
        seed=settings.seed,
        model=ModelConfig(**model.model_dump(include={"source", "revision", "variant", "device"})),
        # Settings that only training reads must not change the evaluation.
        sampling=SamplingConfig(**sampling.model_dump(exclude={"rollouts", "images_per_prompt"})),
        reward=settings.reward or (sources[0].config.reward if sources else RewardConfig()),
        evaluation=settings.evaluation,
        tracking=TrackingConfig(enabled=False),
    )
    return RunDirectory(config)


def subjects_of(directory: RunDirectory, candidates: Sequence[Candidate]) -> list[Subject]:
    """The candidates with the settings of the evaluation."""
    return [_subject(directory, candidate) for candidate in candidates]


def _candidates(policy: EvaluatedPolicy) -> Iterator[Candidate]:
    if policy.run is None:
        yield Candidate(name=policy.name or PRETRAINED, run=None, policy=Reference(epoch=0))
        return
    source = _source(policy.run)
    run, name = RunDirectory(source.config), policy.name or source.config.name
    if policy.epoch != "all":
        epoch = None if policy.epoch == "latest" else policy.epoch
        yield Candidate(name=name, run=source.uri, policy=policy_of_epoch(run, epoch))
        return
    epochs = kept_epochs(run)
    if not epochs:
        raise UserError(f"{source.uri} has no policy: it has not trained an epoch yet")
    for epoch in epochs:
        yield Candidate(name=f"{name}-epoch-{epoch}", run=source.uri, policy=policy_of_epoch(run, epoch))


def _source(uri: str) -> Source:
    store = open_store(uri)
    described = read_description(store)
    if described is None:
        raise UserError(f"policies: {uri} is not a run directory: it has no {RUN}")
    root, _, name = store.uri.rpartition("/")
    try:
        config = RunConfig.model_validate(described["config"] | {"run_root": root, "name": name})
        return Source(store.uri, config, str(described["fingerprint"]["model.digest"]))
    except (KeyError, ValidationError) as error:
        raise UserError(f"{uri}/{RUN} cannot be read by this version: {one_line(error)}") from None


def _check_base_models(model: ModelConfig, sources: Sequence[Source]) -> None:
    digest = model_digest(model)
    for source in sources:
        if source.digest != digest:
            raise UserError(
                f"policies of different base models cannot be compared: {source.uri} was trained from "
                f"{source.config.model.source} ({source.digest[:12]}), the model of the evaluation is "
                f"{model.source} ({digest[:12]})"
            )


def _common_sampling(sources: Sequence[Source]) -> SamplingConfig:
    """The sampling settings of all runs.

    Raises:
        UserError: the runs have different settings.
    """
    if not sources:
        return SamplingConfig()
    first = sources[0]
    for other in sources[1:]:
        differing = [key for key in NOISE if _setting(first, key) != _setting(other, key)]
        if differing:
            values = "; ".join(f"{key} is {_setting(first, key)!r} and {_setting(other, key)!r}" for key in differing)
            raise UserError(
                f"{first.uri} and {other.uri} sample images differently ({values}): "
                "add a section `sampling` to the evaluation file"
            )
    return first.config.sampling


def _setting(source: Source, key: str) -> Any:
    return getattr(source.config.sampling, key)


def _subject(directory: RunDirectory, candidate: Candidate) -> Subject:
    config, source = directory.config, directory
    if candidate.run is not None:
        run_config = _source(candidate.run).config
        model = run_config.model.model_copy(
            update=config.model.model_dump(include={"source", "revision", "variant", "device"})
        )
        changed = {"model": model, "sampling": config.sampling, "evaluation": config.evaluation}
        source = RunDirectory(run_config.model_copy(update=changed))
    weights = str(candidate.policy.facts.get("weights_sha256", ""))[:12] or PRETRAINED
    return Subject(candidate.name, f"policies/{candidate.name}/{weights}", source, candidate.policy)
