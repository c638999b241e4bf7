"""MLflow's model registry: a version for each policy that was promoted, and the alias of the one to use."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import BaseModel, ConfigDict

from reward_finetuning.config.display import redacted
from reward_finetuning.server_errors import error_class, one_line
from reward_finetuning.storage import RunDirectory, Store, open_store
from reward_finetuning.storage.documents import as_record
from reward_finetuning.tracking.journal import Checkpoint
from reward_finetuning.tracking.lineage import Lineage
from reward_finetuning.tracking.mlflow import mlflow_client, tracking_uri

CHAMPION = "champion"


@dataclass(frozen=True, slots=True)
class Version:
    """A version of a registered model."""

    number: str
    tags: Mapping[str, str]


class _Seat(BaseModel):
    """The file of a promotion."""

    model_config = ConfigDict(strict=True)

    sequence: int
    version: str
    settled: bool


def read_seat(store: Store, file: str) -> dict[str, Any] | None:
    """What the file of a promotion says; None where there was no promotion.

    Raises:
        ArtifactError: it was altered.
    """
    seat = store.read_json(file)
    if seat is not None:
        as_record(_Seat, seat, f"{store.uri}/{file}")
    return seat


class Registry:
    """One registered model.

    MLflow moves an alias unconditionally, so of two promotions at once the slower would win without having been
    compared. Therefore a promotion first writes what it is about to do into a file of the run root, which only one can
    do at a time; and whoever finds such a file finishes what it says. Runs that compete share a run root.
    """

    def __init__(self, run: RunDirectory, name: str) -> None:
        self.name = name
        self._uri = tracking_uri(run)
        self._lineage = Lineage(run, self._uri, lambda: mlflow_client(run))
        self._store = open_store(run.config.run_root)
        self._seat = f".registry/{name}.json"

    def champion(self) -> tuple[Version | None, dict[str, Any] | None]:
        """The version that has the alias, and the token to give to `crown`; an interrupted promotion is finished first.

        Raises:
            RetryableError: the server does not answer.
        """
        token = self._settled()
        return self._aliased(), token

    def register(self, checkpoint: Checkpoint, export: Callable[[Path], None], tags: Mapping[str, str]) -> str:
        """The version of a policy of this run; the folder that `export` fills is uploaded if there is none yet.

        Raises:
            RetryableError: the server does not answer.
            UserError: it refuses; so it does where the version was deleted by hand.
        """
        with self._reached() as client:
            made = self._lineage.once(
                f"mlflow/version-{self.name}-{checkpoint.epoch:04d}.json",
                lambda: {"version": self._create(client, checkpoint, export, tags)},
                lambda made: client.delete_model_version(self.name, made["version"]),
            )
            client.get_model_version(
                self.name, made["version"]
            )  # or it was deleted by hand: found here, not once seated
            return str(made["version"])

    def crown(self, version: str, *, reason: str, token: Mapping[str, Any] | None) -> bool:
        """Move the alias to `version`; False where another promotion came first, and this one has to look again."""
        intent = {"sequence": 1 + (token["sequence"] if token else 0), "version": version, "settled": False}
        if not self._store.replace_json(self._seat, intent, expected=token):
            return False
        with self._reached() as client:
            client.update_model_version(self.name, version, description=reason)
            client.set_model_version_tag(self.name, version, "promotion", reason)
        self._settled()
        return True

    def _settled(self) -> dict[str, Any] | None:
        """Carry out what the seat's file says, until it says that it is done; returns the file's content."""
        moved = False
        while (seat := read_seat(self._store, self._seat)) is not None and (moved or not seat["settled"]):
            with self._reached() as client:
                client.set_registered_model_alias(self.name, CHAMPION, seat["version"])
            done = seat | {"settled": True}
            if self._store.replace_json(self._seat, done, expected=seat):
                return done
            moved = True  # another went on meanwhile, and the alias just set may be an old one: set it as it says now
        return seat

    def _aliased(self) -> Version | None:
        from mlflow.exceptions import MlflowException

        with self._reached() as client:
            try:
                version = client.get_model_version_by_alias(self.name, CHAMPION)
            except MlflowException as error:
                # MLflow says INVALID_PARAMETER_VALUE where the model is there and the alias is not.
                if error.error_code in {"RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"}:
                    return None
                raise
            return Version(str(version.version), dict(version.tags))

    def _create(
        self, client: Any, checkpoint: Checkpoint, export: Callable[[Path], None], tags: Mapping[str, str]
    ) -> str:
        model = client.get_logged_model(self._lineage.model_id(asdict(checkpoint)))
        with TemporaryDirectory() as folder:
            export(Path(folder))
            client.log_model_artifacts(model.model_id, folder)
        self._create_registered_model(client)
        version = client.create_model_version(
            self.name,
            model.artifact_location,
            run_id=self._lineage.run_id,
            tags={**tags, "logged_model": model.model_id},  # the server does not tell a version's model_id
            model_id=model.model_id,
        )
        return str(version.version)

    def _create_registered_model(self, client: Any) -> None:
        from mlflow.exceptions import MlflowException

        try:
            client.create_registered_model(self.name)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise

    @contextmanager
    def _reached(self) -> Iterator[Any]:
        """An MlflowClient; its errors are raised by whether a retry can help."""
        from mlflow.exceptions import MlflowException
        from requests import RequestException

        try:
            yield self._lineage.client
        except (MlflowException, RequestException, OSError) as error:
            status = error.get_http_status_code() if isinstance(error, MlflowException) else 503
            raise error_class(status)(
                f"MLflow at {redacted(self._uri)}, model {self.name}: {one_line(error)}"
            ) from error
