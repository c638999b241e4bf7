"""What MLflow holds one of for a run directory, however many tasks ask for it at once.

MLflow has no create-if-absent. So a task creates, then claims by a file of the run directory that only one can write;
whoever comes second deletes its own. A run whose creator never got the answer is found by its tag `lineage`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any
from uuid import uuid4

from reward_finetuning.config.display import redacted
from reward_finetuning.config.errors import ArtifactError, UserError
from reward_finetuning.config.run import flatten
from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.uri import in_bucket
from reward_finetuning.tracking.code import code_version, user
from reward_finetuning.tracking.database import sqlite_path
from reward_finetuning.tracking.names import mlflow_names
from reward_finetuning.tracking.task_run import task_run

_RUN = "mlflow.json"
_NONCE = "mlflow/lineage.json"
_EVALUATION = "mlflow/evaluation.json"
_LONGEST_PARAMETER = 6000  # characters that MLflow takes


class DeletedError(UserError):
    """What a run directory points at in MLflow was deleted there."""


class Lineage:
    """The ids of a run directory in MLflow: its run, the run of its evaluations, a logged model a checkpoint."""

    def __init__(self, run: RunDirectory, uri: str, connect: Callable[[], Any]) -> None:
        self._run, self._uri, self._connect = run, uri, connect

    @cached_property
    def client(self) -> Any:
        """An MlflowClient."""
        return self._connect()

    def known_run_id(self) -> str | None:
        """Id of the run; None until it was created."""
        content = self._run.store.read_json(_RUN)
        return None if content is None else self._id(_RUN, content, "run_id")

    def check(self) -> None:
        """Refuse to send to a run that was deleted.

        Raises:
            DeletedError: the run, or its experiment, was deleted in MLflow; the text says how to continue.
        """
        from mlflow.exceptions import MlflowException

        if (run_id := self.known_run_id()) is None:
            self._experiment()
            return
        anew = (
            f"to send everything to a new MLflow run, delete {_RUN}, mlflow/ and journal/*.sent in {self._run.uri}, "
            "then run rft sync"
        )
        try:
            run = self.client.get_run(run_id)
        except MlflowException as error:
            if error.error_code != "RESOURCE_DOES_NOT_EXIST":
                raise
            raise DeletedError(
                f"MLflow at {redacted(self._uri)} has no run {run_id}: its data is gone, or is elsewhere; {anew}"
            ) from None
        if run.info.lifecycle_stage != "active":
            raise DeletedError(
                f"MLflow's run {run_id} was deleted; restore it with: mlflow runs restore --run-id {run_id} (if its "
                f"experiment was deleted: mlflow experiments restore --experiment-id {run.info.experiment_id}), "
                f"then run rft sync; or, {anew}"
            )

    @property
    def run_id(self) -> str:
        """Id of the run that has all curves."""
        made = self.once(_RUN, self._create_run, lambda made: self.client.delete_run(made["run_id"]))
        return self._id(_RUN, made, "run_id")

    @property
    def evaluation_run_id(self) -> str:
        """Id of the nested run of all evaluations."""
        made = self.once(_EVALUATION, self._create_evaluation, lambda made: self.client.delete_run(made["run_id"]))
        return self._id(_EVALUATION, made, "run_id")

    def model_id(self, checkpoint: Mapping[str, Any]) -> str:
        """Id of the logged model that stands for a checkpoint."""
        file = f"mlflow/model-{checkpoint['epoch']:04d}.json"
        made = self.once(
            file,
            lambda: self._create_model(checkpoint),
            lambda made: self.client.delete_logged_model(made["model_id"]),
        )
        return self._id(file, made, "model_id")

    def set_status(self, status: str) -> None:
        """RUNNING, or FINISHED with all that is nested; runs that were created and never claimed are deleted."""
        for stray in self._created_runs():
            if stray.info.run_id != self.run_id:
                self.client.delete_run(stray.info.run_id)
        if status == "RUNNING":
            self.client.update_run(self.run_id, status=status)
            return
        self.client.set_terminated(self.run_id, status=status)
        if (evaluation := self._run.store.read_json(_EVALUATION)) is not None:
            self.client.set_terminated(evaluation["run_id"], status=status)

    def once(
        self, file: str, create: Callable[[], dict[str, str]], discard: Callable[[dict[str, str]], None]
    ) -> dict[str, Any]:
        """What `file` of the run directory names in MLflow; created where there is no such file yet.

        Args:
            file: JSON file of the run directory.
            create: makes the thing in MLflow, and says what it is.
            discard: deletes what `create` has made, because another task was faster.
        """
        if (content := self._run.store.read_json(file)) is not None:
            return content
        made = create()
        if self._run.store.create_json(file, made):
            return made
        winner = self._run.store.read_json(file)
        assert winner is not None
        if winner != made:
            discard(made)
        return winner

    def _create_run(self) -> dict[str, str]:
        from mlflow.entities import Param

        config = self._run.config
        created = self._created_runs()  # by an attempt that ended before it could claim
        run = (
            created[0]
            if created
            else self.client.create_run(self._experiment(), run_name=config.name, tags=self._tags())
        )
        settings = flatten(config.model_dump(mode="json"))
        names = mlflow_names(settings)
        params = [Param(names[key], str(value)[:_LONGEST_PARAMETER]) for key, value in settings.items()]
        for start in range(0, len(params), 100):
            self.client.log_batch(run.info.run_id, params=params[start : start + 100])
        return {"run_id": run.info.run_id, "experiment_id": run.info.experiment_id}

    def _created_runs(self) -> list[Any]:
        """Runs of this run directory, the oldest first; one unless creation was cut off."""
        mine = f"tags.lineage = '{self._nonce()}'"
        return list(self.client.search_runs([self._experiment()], mine, order_by=["attributes.start_time ASC"]))

    def _nonce(self) -> str:
        """What no other run directory has, be it at the same place: someone may delete this one and begin anew."""
        if self._run.store.read_json(_NONCE) is None:
            self._run.store.create_json(_NONCE, {"lineage": uuid4().hex})
        return self._id(_NONCE, self._run.store.read_json(_NONCE) or {}, "lineage")

    def _id(self, file: str, content: Mapping[str, Any], key: str) -> str:
        identifier = content.get(key)
        if not isinstance(identifier, str):
            raise ArtifactError(f"{self._run.uri}/{file} was altered: it has no {key}; restore it, or delete it")
        return identifier

    def _create_evaluation(self) -> dict[str, str]:
        tags = {"mlflow.parentRunId": self.run_id, "run_directory": self._run.uri}
        run = self.client.create_run(self._experiment(), run_name=f"{self._run.config.name} evaluation", tags=tags)
        return {"run_id": run.info.run_id}

    def _create_model(self, checkpoint: Mapping[str, Any]) -> dict[str, str]:
        from mlflow.entities import LoggedModelOutput, LoggedModelStatus

        config = self._run.config
        model = self.client.create_logged_model(
            self._experiment(),
            name=f"{config.name}-epoch-{checkpoint['epoch']:05d}",
            source_run_id=self.run_id,
            tags={key: str(value) for key, value in checkpoint.items()} | {"fingerprint": self._run.fingerprint},
            params={"base_model": config.model.source, "trainable": config.model.trainable}
            | {"objective": config.objective.name, "epoch": str(checkpoint["epoch"])},
            model_type="text-to-image",
        )
        self.client.finalize_logged_model(model.model_id, LoggedModelStatus.READY)
        self.client.log_outputs(self.run_id, [LoggedModelOutput(model.model_id, checkpoint["epoch"])])
        return {"model_id": model.model_id}

    def _experiment(self) -> str:
        from mlflow.exceptions import MlflowException

        if (content := self._run.store.read_json(_RUN)) is not None and "experiment_id" in content:
            return self._id(_RUN, content, "experiment_id")  # the pipeline runs of a lineage may have several
        if (task := task_run(self._run)) is not None:
            return task.experiment_id
        name = self._run.config.tracking.experiment
        if (experiment := self.client.get_experiment_by_name(name)) is not None:
            if experiment.lifecycle_stage != "active":
                raise DeletedError(
                    f"MLflow's experiment {name!r} was deleted; restore it with: mlflow experiments restore "
                    f"--experiment-id {experiment.experiment_id}; or set tracking.experiment to another name"
                )
            return str(experiment.experiment_id)
        location = None
        if (database := sqlite_path(self._uri)) is not None:
            root = self._run.config.run_root
            folder = database.parent if in_bucket(root) else Path(root)
            location = (folder.absolute() / "mlflow-artifacts").as_uri()
        try:
            # The kind that the UI would otherwise guess, between training and language models.
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return str(self.client.create_experiment(name, artifact_location=location, tags=kind))
        except MlflowException:  # another run created it in between
            return str(self.client.get_experiment_by_name(name).experiment_id)

    def _tags(self) -> dict[str, str]:
        config, commit = self._run.config, code_version()
        return {
            "lineage": self._nonce(),
            "run_name": config.name,
            "run_directory": self._run.uri,
            "fingerprint": self._run.fingerprint,
            "git_commit": commit,
            "mlflow.source.git.commit": commit.removesuffix("-dirty"),
            "mlflow.source.name": "reward_finetuning",
            "mlflow.user": user(),
            "mlflow.note.content": (
                f"Reward finetuning of `{config.model.source}` by {config.objective.name} for "
                f"{', '.join(name for name, weight in config.reward.weights.items() if weight)}. "
                "Evaluations and tables of samples: the child run; pages: `reports/`."
            ),
        }
