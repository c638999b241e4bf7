"""refusal.json of a run directory: an error that ends a pipeline run, because no further attempt can succeed.

A service such as Kubeflow Pipelines sees that a task failed, but not why, and would start it again for hours. So the
task writes its error here, where the following attempts, `rft submit` and `rft status` read it. The refusal concerns
one pipeline run: a later one ignores it, and removes it as soon as one of its tasks succeeds.
"""

from __future__ import annotations

import datetime
from typing import Literal

from pydantic import PositiveInt

from reward_finetuning.config.base import Frozen
from reward_finetuning.config.errors import ArtifactError, TrainingError, UserError
from reward_finetuning.storage.documents import as_record
from reward_finetuning.storage.store import Store

REFUSAL = "refusal.json"
_CLASSES = {each.__name__: each for each in (UserError, ArtifactError, TrainingError)}


class Refusal(Frozen):
    """One permanent error."""

    pipeline_run: str
    """Id of the pipeline run on the service."""

    task: str
    attempt: PositiveInt
    error: Literal["UserError", "ArtifactError", "TrainingError"]
    message: str
    time: datetime.datetime

    def as_error(self) -> UserError | TrainingError:
        """The error, to be raised again."""
        return _CLASSES[self.error](self.message)


def read_refusal(store: Store) -> Refusal | None:
    """The refusal of the newest pipeline run; None if it was not refused."""
    content = store.read_json(REFUSAL)
    return as_record(Refusal, content, f"{store.uri}/{REFUSAL}") if content else None


def write_refusal(store: Store, pipeline_run: str, task: str, attempt: int, error: UserError | TrainingError) -> None:
    """Record a permanent error; the first one of a pipeline run stays."""
    refusal = Refusal.model_validate(
        {
            "pipeline_run": pipeline_run,
            "task": task,
            "attempt": attempt,
            "error": type(error).__name__,
            "message": str(error),
            "time": datetime.datetime.now(datetime.UTC),
        }
    )
    before = store.read_json(REFUSAL)
    if before and before.get("pipeline_run") == pipeline_run:
        return
    store.replace_json(REFUSAL, refusal.model_dump(mode="json"), expected=before)


def remove_refusal(store: Store) -> None:
    """Forget the refusal: a pipeline run after it has got further."""
    if before := store.read_json(REFUSAL):
        store.replace_json(REFUSAL, {}, expected=before)
