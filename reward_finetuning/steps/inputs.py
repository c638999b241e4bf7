"""What a run reads besides its settings, by digest: for its fingerprint, and to know it again where it runs."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from functools import partial

from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.config.reward import ScorerConfig
from reward_finetuning.config.run import RunConfig
from reward_finetuning.policy.source import model_digest
from reward_finetuning.policy.warm_start import warm_start_digest
from reward_finetuning.prompts import read_prompts
from reward_finetuning.rewards.scorer import scorer_digests


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
    """Digests of the inputs that can be read on this machine, evaluation prompts included; nobody is asked over HTTP.

    The machine that compiles a package need not have what the cluster has: what is not here is left out.
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
    yield lambda: {"model.digest": model_digest(config.model)}
    yield partial(warm_start_digest, config)
    yield lambda: {"prompts.digest": read_prompts(config.prompts.train).digest}
    for name, source in config.evaluation.prompt_sets.items():
        yield partial(_evaluation_digest, name, source)
    for name in config.reward.weights:
        settings = config.reward.scorers.get(name, ScorerConfig())
        if settings.url is None and settings.use is None:  # a plug-in may import torch
            yield partial(scorer_digests, config.reward.model_copy(update={"weights": {name: 1.0}}))


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
