"""What a run reads besides its settings, by digest: for its fingerprint, and to recognise it where the run is done."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from functools import cache, partial

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import RetryableError, UserError
from reward_finetuning.config.externals import Kind, Setting, external_settings
from reward_finetuning.config.parsing import parse_json
from reward_finetuning.config.run import RunConfig
from reward_finetuning.inputs.places import Place, bucket_uri_of, place_of
from reward_finetuning.policy.pretrained.source import MODEL, model_digests
from reward_finetuning.policy.warm_start import DIGEST as WARM_START
from reward_finetuning.policy.warm_start import warm_start_digest
from reward_finetuning.prompts import read_prompts
from reward_finetuning.rewards.scorer import scorer_digests
from reward_finetuning.storage.folders import is_reachable
from reward_finetuning.storage.uri import scheme_of

PROMPTS = "prompts.digest"


def input_digests(config: RunConfig) -> dict[str, str]:
    """Model, policy to start from, training prompts and scorers: the inputs that change numbers.

    Raises:
        UserError: one of them is not there or not whole.
        RetryableError: a served scorer does not answer.
    """
    digests = model_digests(config.model) | _training_prompts(config)
    return digests | scorer_digests(config.reward) | warm_start_digest(config)


def compiled_digests(config: RunConfig) -> dict[str, str]:
    """Digests of the inputs that can be read on this machine, evaluation prompts included: a package carries them.

    The machine that compiles a package need not have what the cluster has: what is not here is left out. Neither models
    nor scorers in buckets are downloaded for this, nor is a scorer asked over HTTP; prompt sets in buckets are read.
    """
    named: dict[str, list[Setting]] = defaultdict(list)
    for setting in external_settings(config):
        named[setting.digest].append(setting)
    storage_answers = cache(is_reachable)
    digests: dict[str, str] = {}
    for keys, read in _readers(config):
        if all(_readable(setting, storage_answers) for key in keys for setting in named[key]):
            with suppress(UserError, RetryableError):  # next_epochs reports it, on the machine that needs the input
                digests |= read()
    return digests


def check_compiled(inputs: str, digests: Mapping[str, str], config: RunConfig) -> None:
    """Refuse inputs that are not those a package was compiled for.

    Args:
        inputs: JSON text of `compiled_digests`; empty: any input is accepted.
        digests: `input_digests` on this machine.
        config: for the evaluation prompts.

    Raises:
        UserError: naming each input with both digests.
    """
    compiled = _parse(inputs)
    now = {**digests, **(_evaluation_prompts(config) if compiled else {})}
    changed = [
        f"{name} was {digest}, is {now.get(name, 'not there')}"
        for name, digest in compiled.items()
        if now.get(name) != digest
    ]
    if changed:
        listed = "; ".join(changed)
        raise UserError(f"inputs changed since the package was compiled: {listed}. Compile and submit again")


def _readers(config: RunConfig) -> Iterator[tuple[Sequence[str], Callable[[], dict[str, str]]]]:
    """Keys of the digests whose settings a reader reads, and the reader."""
    yield (MODEL,), partial(model_digests, config.model)
    yield (MODEL, WARM_START), partial(warm_start_digest, config)
    yield (PROMPTS,), partial(_training_prompts, config)
    for name, source in config.evaluation.prompt_sets.items():
        yield (_evaluation_key(name),), partial(_evaluation_set, name, source)
    for name in config.reward.weights:
        alone = config.reward.model_copy(update={"weights": {name: 1.0}})
        yield (f"reward.{name}.digest",), partial(scorer_digests, alone)


def _readable(setting: Setting, storage_answers: Callable[[str], bool]) -> bool:
    """Whether what is named can be read on a machine that only compiles."""
    place = place_of(setting)
    if (uri := bucket_uri_of(setting)) is not None:
        return setting.external.kind is Kind.PROMPTS and storage_answers(scheme_of(uri))
    # A plug-in may import torch.
    return place is not Place.NETWORK and setting.external.kind is not Kind.PLUGIN


def _training_prompts(config: RunConfig) -> dict[str, str]:
    return {PROMPTS: read_prompts(config.prompts.train).digest}


def _evaluation_prompts(config: RunConfig) -> dict[str, str]:
    sets = config.evaluation.prompt_sets.items()
    return {key: digest for name, source in sets for key, digest in _evaluation_set(name, source).items()}


def _evaluation_set(name: str, source: str) -> dict[str, str]:
    return {_evaluation_key(name): read_prompts(source).digest}


def _evaluation_key(name: str) -> str:
    return f"evaluation.{name}.digest"


def _parse(inputs: str) -> dict[str, str]:
    try:
        digests = parse_json(inputs or "{}")
    except ValueError:
        digests = None
    if not isinstance(digests, dict) or not all(isinstance(digest, str) for digest in digests.values()):
        raise UserError(f"inputs must be JSON text of name -> digest, as rft compile writes it, got {shown(inputs)}")
    return digests
