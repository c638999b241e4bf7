"""What is to be trained now? The prompt set as it is, the champion to start from, and a run of their own."""

from __future__ import annotations

import datetime
import json
from hashlib import sha256
from pathlib import PurePosixPath

from reward_finetuning.config import RunConfig, UserError, parse_config
from reward_finetuning.config.base import Frozen
from reward_finetuning.config.sections.retraining import RetrainingConfig
from reward_finetuning.config.sections.warm_start import WarmStartConfig
from reward_finetuning.evaluation.champion import seat_of
from reward_finetuning.events import report_news
from reward_finetuning.prompts import PromptSet, check_enough
from reward_finetuning.prompts.pointer import read_now, snapshot
from reward_finetuning.steps.program import Config, run_step, step
from reward_finetuning.storage import RunDirectory, Store, open_store
from reward_finetuning.storage.documents import as_record


@step
def begin_retraining(config: Config) -> str:
    """Find or begin the retraining for the prompts that there are now; returns its whole RunConfig as JSON text.

    The same prompts and settings lead to the same run, so that nothing is trained twice, and a retry goes on. Each run
    has a copy of its prompts, which may be replaced while it is trained, and remembers whom it started from.

    Raises:
        UserError: the config has no retraining section, or its prompts cannot be trained on.
        RetryableError: MLflow, which knows the champion, does not answer.
    """
    found = find_or_begin(asked := parse_config(config))
    known = "" if found.is_new else f" (these prompts and settings are known since {found.begun})"
    report_news(f"retraining {found.key}: {found.num_prompts} prompts of {found.source}, from {found.start}{known}")
    return found.config(asked).model_dump_json()


class Retraining(Frozen):
    """One run of the series."""

    begun: str
    """When, in UTC."""

    source: str
    """What prompts.train led to."""

    num_prompts: int
    start: str
    """What it starts from, in words."""

    prompts: str
    """Its own copy of the prompts."""

    warm_start: WarmStartConfig | None
    key: str
    is_new: bool = True

    def config(self, asked: RunConfig) -> RunConfig:
        """The run's own config; what changes no numbers, such as its evaluation, is as asked for now."""
        return asked.model_copy(
            update={
                "name": f"{asked.name}-{self.key}",
                "prompts": asked.prompts.model_copy(update={"train": self.prompts}),
                "warm_start": self.warm_start,
                # All runs of the series compete for one model.
                "promotion": asked.promotion.model_copy(update={"registered_model": asked.registered_model}),
                "retraining": None,
            }
        )


def find_or_begin(asked: RunConfig) -> Retraining:
    """See begin_retraining."""
    if asked.retraining is None:
        raise UserError("begin_retraining needs a config with a retraining section; an ordinary run has none")
    prompts = read_now(asked.prompts.train, datetime.datetime.now(datetime.UTC).date())
    check_enough(prompts, asked.prompts.prompts_per_epoch)
    series = open_store(f"{asked.run_root}/{asked.name}")
    key = _key(asked, prompts)
    name = f"retrainings/{key}.json"
    is_new = series.read_json(name) is None and series.create_json(
        name, _begin(asked, asked.retraining, prompts, series, key).model_dump(mode="json", exclude={"is_new"})
    )
    return as_record(Retraining, {**(series.read_json(name) or {}), "is_new": is_new}, f"{series.uri}/{name}")


def _key(asked: RunConfig, prompts: PromptSet) -> str:
    numbers = json.dumps([prompts.digest, asked.loop.epochs, asked.numbers()], sort_keys=True)
    return sha256(numbers.encode()).hexdigest()[:10]


def _begin(asked: RunConfig, retraining: RetrainingConfig, prompts: PromptSet, series: Store, key: str) -> Retraining:
    start = _champion(asked, retraining) if retraining.start_from == "champion" else None
    return Retraining(
        key=key,
        begun=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        source=prompts.source,
        num_prompts=len(prompts.prompts),
        start=f"epoch {start.epoch} of {PurePosixPath(start.run_directory).name}" if start else "the pretrained model",
        prompts=snapshot(series, prompts),
        warm_start=start,
    )


def _champion(asked: RunConfig, retraining: RetrainingConfig) -> WarmStartConfig | None:
    champion, _ = seat_of(RunDirectory(asked)).holder()
    if champion is None:
        return None
    return WarmStartConfig(run_directory=champion.run_directory, epoch=champion.epoch, reference=retraining.reference)


if __name__ == "__main__":
    run_step(begin_retraining)
