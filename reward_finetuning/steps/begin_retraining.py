"""Begin or continue the retraining for the current prompt set: a run that starts from the current champion."""

from __future__ import annotations

import datetime
import json
from hashlib import sha256
from pathlib import PurePosixPath

from reward_finetuning.config import RunConfig, UserError, parse_config
from reward_finetuning.config.base import Frozen
from reward_finetuning.config.options import with_options
from reward_finetuning.config.sections.retraining import RetrainingConfig
from reward_finetuning.config.sections.warm_start import WarmStartConfig
from reward_finetuning.evaluation.champion import seat_of
from reward_finetuning.evaluation.objections import check_promotion
from reward_finetuning.events import report_news
from reward_finetuning.prompts import PromptSet, check_enough
from reward_finetuning.prompts.pointer import read_now, snapshot
from reward_finetuning.steps.program import Config, Options, Run, run_step, step
from reward_finetuning.storage import RunDirectory, Store, open_store
from reward_finetuning.storage.documents import as_record


@step
def begin_retraining(config: Config, options: Options = "", run: Run = "") -> str:
    """Find or begin the retraining for the current prompts; returns its whole RunConfig as JSON text.

    The same prompts and settings lead to the same run, so that nothing is trained twice and a retry continues it. Each
    run has a copy of its prompts, because the source may change while it is trained, and records its first policy.

    Raises:
        UserError: the config has no retraining section, or its prompts cannot be trained on.
        RetryableError: the model registry of MLflow, which names the champion, does not answer.
    """
    series = with_options(parse_config(config), options, run)
    retraining = find_or_begin(series)
    since = "" if retraining.is_new else f" (these prompts and settings are known since {retraining.begun})"
    report_news(
        f"retraining {retraining.key}: {retraining.num_prompts} prompts of {retraining.source}, "
        f"from {retraining.start}{since}"
    )
    return retraining.config(series).model_dump_json()


class Retraining(Frozen):
    """One run of the series."""

    begun: str
    """When, in UTC."""

    source: str
    """The prompt set that prompts.train pointed to."""

    num_prompts: int
    start: str
    """The policy that it starts from, in words."""

    prompts: str
    """Its own copy of the prompts."""

    warm_start: WarmStartConfig | None
    key: str
    is_new: bool = True

    def config(self, series: RunConfig) -> RunConfig:
        """The run's own config; settings that change no numbers, such as the evaluation's, are those of `series`."""
        return series.model_copy(
            update={
                "name": f"{series.name}-{self.key}",
                "prompts": series.prompts.model_copy(update={"train": self.prompts}),
                "warm_start": self.warm_start,
                # All runs of the series compete for one model.
                "promotion": series.promotion.model_copy(update={"registered_model": series.registered_model}),
                "retraining": None,
            }
        )


def find_or_begin(series: RunConfig) -> Retraining:
    """See begin_retraining."""
    if series.retraining is None:
        raise UserError("begin_retraining needs a config with a retraining section; an ordinary run has none")
    prompts = read_now(series.prompts.train, datetime.datetime.now(datetime.UTC).date())
    check_enough(prompts, series.prompts.prompts_per_epoch)
    check_promotion(series)
    store = open_store(f"{series.run_root}/{series.name}")
    key = _key(series, prompts)
    name = f"retrainings/{key}.json"
    is_new = store.read_json(name) is None and store.create_json(
        name, _begin(series, series.retraining, prompts, store, key).model_dump(mode="json", exclude={"is_new"})
    )
    return as_record(Retraining, {**(store.read_json(name) or {}), "is_new": is_new}, f"{store.uri}/{name}")


def _key(series: RunConfig, prompts: PromptSet) -> str:
    numbers = json.dumps([prompts.digest, series.loop.epochs, series.numbers()], sort_keys=True)
    return sha256(numbers.encode()).hexdigest()[:10]


def _begin(series: RunConfig, retraining: RetrainingConfig, prompts: PromptSet, store: Store, key: str) -> Retraining:
    start = _champion(series, retraining) if retraining.start_from == "champion" else None
    return Retraining(
        key=key,
        begun=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        source=prompts.source,
        num_prompts=len(prompts.prompts),
        start=f"epoch {start.epoch} of {PurePosixPath(start.run_directory).name}" if start else "the pretrained model",
        prompts=snapshot(store, prompts),
        warm_start=start,
    )


def _champion(series: RunConfig, retraining: RetrainingConfig) -> WarmStartConfig | None:
    champion, _ = seat_of(RunDirectory(series)).holder()
    if champion is None:
        return None
    return WarmStartConfig(run_directory=champion.run_directory, epoch=champion.epoch, reference=retraining.reference)


if __name__ == "__main__":
    run_step(begin_retraining)
