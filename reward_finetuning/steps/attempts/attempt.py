"""One attempt of a step as a task of a pipeline run on Kubeflow: what it leaves for the attempts after it.

Its environment says which attempt it is: KFP_RUN_ID and RFT_POOL are set by the placement, KFP_RETRY_INDEX (0 is the
first attempt) by Kubeflow Pipelines. Without KFP_RUN_ID nothing is read and nothing is written.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from hashlib import sha256
from typing import Any

from reward_finetuning.config.errors import RetryableError, TrainingError, UserError
from reward_finetuning.failures import classify
from reward_finetuning.steps.attempts.memory import Marks, Watch
from reward_finetuning.storage import Store, open_store
from reward_finetuning.storage.refusal import read_refusal, remove_refusal, write_refusal

PIPELINE_RUN, RETRY, POOL = "KFP_RUN_ID", "KFP_RETRY_INDEX", "RFT_POOL"


@contextmanager
def attempt(task: str, config: str, arguments: Mapping[str, Any]) -> Iterator[None]:
    """The body is one attempt of `task`.

    Args:
        task: name of the step.
        config: its RunConfig or EvaluationRun, as JSON text.
        arguments: all that it is called with; they tell the shards of a task apart.

    Raises:
        UserError: an earlier attempt, or another task of this pipeline run, was refused; or two attempts in a row were
            killed near the memory limit of their container.
        TrainingError: as the first; or two attempts in a row ended in the same bug.
    """
    pipeline_run, store = os.environ.get(PIPELINE_RUN), _store(config)
    if not pipeline_run or store is None or "RANK" in os.environ:  # one of several processes: their parent reports
        yield
        return
    number = int(os.environ.get(RETRY) or 0) + 1
    refusal = read_refusal(store)
    if refusal is not None and refusal.pipeline_run == pipeline_run:
        print(f"{refusal.task} was refused in attempt {refusal.attempt}; this pipeline run cannot succeed", flush=True)
        raise refusal.as_error()
    key = sha256(json.dumps(arguments, sort_keys=True, default=str).encode()).hexdigest()[:8]
    marks = Marks(store, f"attempts/{pipeline_run}/{task}-{key}", os.environ.get(POOL, "NAME"))
    try:
        marks.check(task, number)
        with Watch(marks, number):
            yield
    except Exception as error:
        if isinstance(failure := classify(error), (UserError, TrainingError)):
            _record(store, pipeline_run, task, number, failure)
        raise
    if refusal is not None:
        remove_refusal(store)


def _store(config: str) -> Store | None:
    """The run directory; None if the config, or its run_root, is not even readable."""
    with suppress(ValueError, KeyError, TypeError):
        content = json.loads(config)
        return open_store(f"{content['run_root']}/{content['name']}")
    return None


def _record(store: Store, pipeline_run: str, task: str, number: int, error: UserError | TrainingError) -> None:
    try:
        write_refusal(store, pipeline_run, task, number, error)
    except (RetryableError, OSError) as problem:  # the error itself is what the user has to read
        print(f"the error could not be recorded in {store.uri}: {problem}", flush=True)
