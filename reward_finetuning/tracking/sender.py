"""One entry of the journal as MLflow calls, all of which may be made again: names are the entry's, never random."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from uuid import NAMESPACE_URL, uuid5

from reward_finetuning.storage import RunDirectory
from reward_finetuning.storage.uri import scheme_of
from reward_finetuning.tracking.lineage import Lineage
from reward_finetuning.tracking.metrics_table import metrics_table, named
from reward_finetuning.tracking.names import chart_name, mlflow_name, mlflow_names

_METRICS, _SAMPLES = "metrics", "samples"
_MOST_TABLES = 50  # of each kind that the tag of tables names; a tag holds 8000 characters


class Sender:
    """Sends entries to the lineage's runs: curves, pictures and pages to the run, evaluations to the one below it."""

    def __init__(self, run: RunDirectory, lineage: Lineage) -> None:
        self._run, self._lineage = run, lineage
        self._client, self._run_id = lineage.client, lineage.run_id

    def send(self, entry: Mapping[str, Any]) -> None:
        """Send all of an entry."""
        metrics = entry["metrics"]
        self._log_points(self._run_id, entry, named(metrics) if entry.get("evaluation") else metrics)
        for series, path in entry["images"].items():
            self._log_image(series, self._run.file(path), entry)
        for file, path in entry.get("files", {}).items():
            self._log_file(self._run_id, file, self._run.file(path))
        for file, facts in entry["references"].items():
            self._client.log_dict(self._run_id, facts, file)
        for key, value in entry.get("tags", {}).items():
            self._client.set_tag(self._run_id, mlflow_name(key), value)
        self._log_datasets(entry.get("datasets", ()))
        if (evaluation := entry.get("evaluation")) is not None:
            self._log_evaluation(entry, evaluation)

    def _log_evaluation(self, entry: Mapping[str, Any], evaluation: Mapping[str, Any]) -> None:
        from reward_finetuning.tracking.table import sample_table  # pyarrow, which a laptop has not

        run_id, checkpoint = self._lineage.evaluation_run_id, evaluation["checkpoint"]
        model_id = None if checkpoint is None else self._lineage.model_id(checkpoint)
        self._log_points(run_id, entry, named(evaluation["metrics"]), model_id)
        tables = {
            _METRICS: metrics_table(evaluation["metrics"]),
            _SAMPLES: sample_table(self._run, evaluation["pretrained_report"], evaluation["report"]),
        }
        for folder, table in tables.items():
            # log_table would append to what an earlier attempt has sent.
            self._client.log_text(run_id, json.dumps(table), f"{folder}/epoch_{entry['epoch']:05d}.json")
        self._list_tables(run_id)

    def _log_points(
        self, run_id: str, entry: Mapping[str, Any], metrics: Mapping[str, float], model_id: str | None = None
    ) -> None:
        from mlflow.entities import Metric

        at = (entry["timestamp_ms"], entry["epoch"], model_id)
        names = mlflow_names(metrics)  # an earlier version's journal may have others
        points = [Metric(chart_name(names[key]), value, *at) for key, value in metrics.items()]
        for start in range(0, len(points), 1000):
            self._client.log_batch(run_id, metrics=points[start : start + 1000])

    def _log_image(self, series: str, picture: Path, entry: Mapping[str, Any]) -> None:
        """As log_image(key=series, step=epoch) does, for the UI's slider, but under a name that stays the same."""
        from mlflow.tracking.multimedia import compress_image_size
        from PIL import Image

        step, timestamp = entry["epoch"], entry["timestamp_ms"]
        name = (
            f"{series.replace('/', '~')}+step+{step}+timestamp+{timestamp}+{uuid5(NAMESPACE_URL, f'{series}/{step}')}"
        )
        with TemporaryDirectory() as folder:
            thumbnail = Path(folder) / f"{name}+compressed.webp"
            with Image.open(picture) as image:
                compress_image_size(image).save(thumbnail)
            self._client.log_artifact(self._run_id, str(thumbnail), "images")
        self._log_file(self._run_id, f"images/{name}.png", picture)
        self._client.set_tag(self._run_id, "mlflow.loggedImages", "True")

    def _log_file(self, run_id: str, file: str, path: Path) -> None:
        with TemporaryDirectory() as folder:
            renamed = shutil.copyfile(path, Path(folder) / Path(file).name)
            parent = Path(file).parent.as_posix()
            self._client.log_artifact(run_id, str(renamed), None if parent == "." else parent)

    def _log_datasets(self, datasets: Any) -> None:
        from mlflow.entities import Dataset, DatasetInput, InputTag

        inputs: dict[str, list[Any]] = {}
        for each in datasets:
            dataset = Dataset(
                each["name"][:500] or "_",
                each["digest"][:32],  # MLflow takes 36 characters
                scheme_of(each["source"]) or "local",
                json.dumps({"uri": each["source"]}),
                json.dumps({"mlflow_colspec": [{"type": "string", "name": "prompt", "required": True}]}),
                json.dumps({"num_prompts": each["num_prompts"], "sha256": each["digest"]}),
            )
            tags = [InputTag("mlflow.data.context", each["context"])]
            inputs.setdefault(each["context"], []).append(DatasetInput(dataset, tags))
        for context, datasets_of_context in inputs.items():
            run_id = self._lineage.evaluation_run_id if context == "evaluation" else self._run_id
            self._client.log_inputs(run_id, datasets_of_context)

    def _list_tables(self, run_id: str) -> None:
        """Name the tables to the UI, from what is there: two tasks that list at once list the same."""
        tables = [
            {"path": file.path, "type": "table"}
            for folder in (_METRICS, _SAMPLES)
            for file in sorted(self._client.list_artifacts(run_id, folder), key=lambda file: file.path)[-_MOST_TABLES:]
        ]
        self._client.set_tag(run_id, "mlflow.loggedArtifacts", json.dumps(tables))
