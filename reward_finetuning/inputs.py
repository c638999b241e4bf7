"""What a run reads besides its settings, by digest: for its fingerprint, and to know it again where it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial

from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.config.run import RunConfig
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.policy.source import model_digest
from reward_finetuning.policy.warm_start import warm_start_digest
from reward_finetuning.prompts import read_prompts
from reward_finetuning.rewards.scorer import scorer_digests
from reward_finetuning.storage.gcs.client import can_be_asked
from reward_finetuning.storage.uri import in_bucket


def input_digests(config: RunConfig) -> dict[str, str]:
    """Model, policy to start from, training prompts and scorers: the inputs that change numbers.

    Raises:
        UserError: one of them is not there or not whole.
        RetryableError: a served scorer does not answer.
    """
    prompts = read_prompts(config.prompts.train)
    digests = {"model.digest": model_digest(config.model), "prompts.digest": prompts.digest}
    return digests | scorer_digests(config.reward) | warm_start_digest(config)


def known_digests(config: RunConfig) -> dict[str, str]:
    """Digests of the inputs that can be read on this machine, evaluation prompts included.

    The machine that compiles a package need not have what the cluster has: what is not here is left out. Neither models
    nor scorers in buckets are downloaded for this, nor is a scorer asked over HTTP; prompt sets in buckets are read.
    """
    known: dict[str, str] = {}
    for read in _readers(config):
        with suppress(UserError, RetryableError):  # said by next_epochs, where it matters
            known |= read()
    return known


def check_known(inputs: str, found: Mapping[str, str], config: RunConfig) -> None:
    """Refuse inputs that are not those a package was compiled for.

    Args:
        inputs: JSON text of `known_digests`; empty takes what is there.
        found: `input_digests` of what is there.
        config: for the evaluation prompts.

    Raises:
        UserError: naming each input with both digests.
    """
    compiled = _parse(inputs)
    there = {**found, **(_evaluation_digests(config) if compiled else {})}
    changed = [
        f"{name} was {digest}, is {there.get(name, 'not there')}"
        for name, digest in compiled.items()
        if there.get(name) != digest
    ]
    if changed:
        raise UserError(
            f"inputs changed since the package was compiled: {'; '.join(changed)}. Compile and submit again, "
            "or set the pipeline's parameter inputs to '' to take what is there"
        )


def _readers(config: RunConfig) -> Iterator[Callable[[], dict[str, str]]]:
    if not _somewhere_in_buckets(config.model.source, config.model.adapter, config.model.single_file_configs):
        yield lambda: {"model.digest": model_digest(config.model)}
        if config.warm_start is not None and not in_bucket(config.warm_start.run_directory):
            yield partial(warm_start_digest, config)
    sets = {"": config.prompts.train, **config.evaluation.prompt_sets}
    in_reach = not _somewhere_in_buckets(*sets.values()) or can_be_asked()
    for name, source in sets.items():
        if in_reach or not _somewhere_in_buckets(source):
            yield partial(_evaluation_digest, name, source) if name else partial(_training_digest, source)
    for name in config.reward.weights:
        settings = config.reward.scorers.get(name, ScorerConfig())
        if settings.url is None and settings.use is None and not _somewhere_in_buckets(settings.source):
            # A plug-in may import torch.
            yield partial(scorer_digests, config.reward.model_copy(update={"weights": {name: 1.0}}))


def _somewhere_in_buckets(*sources: str | None) -> bool:
    """Whether one of the sources is in a bucket, be it behind a notation such as hpdv2:."""
    return any(source is not None and "gs://" in source for source in sources)


def _training_digest(source: str) -> dict[str, str]:
    return {"prompts.digest": read_prompts(source).digest}


def _evaluation_digests(config: RunConfig) -> dict[str, str]:
    sets = config.evaluation.prompt_sets.items()
    return {key: digest for name, source in sets for key, digest in _evaluation_digest(name, source).items()}


def _evaluation_digest(name: str, source: str) -> dict[str, str]:
    return {f"evaluation.{name}.digest": read_prompts(source).digest}


def _parse(inputs: str) -> dict[str, str]:
    try:
        digests = json.loads(inputs or "{}")
    except json.JSONDecodeError:
        digests = None
    if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
        raise UserError(f"inputs must be JSON text of name -> digest, as rft compile writes it, got {inputs!r}")
    return digests
