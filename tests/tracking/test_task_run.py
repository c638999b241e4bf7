"""The environment of KFP's MLflow plugin, against a real MLflow server."""

import pytest
from mlflow.tracking import MlflowClient

from reward_finetuning.tracking import Entry, MlflowTracker
from reward_finetuning.tracking.task_run import task_run

VARIABLES = ("MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_ID", "MLFLOW_RUN_ID")


@pytest.fixture
def plugin(monkeypatch):
    """Sets what the plugin sets in a task's container."""

    def enter(uri, experiment_id, run_id):
        for name, value in zip(VARIABLES, (uri, experiment_id, run_id), strict=True):
            monkeypatch.setenv(name, value)

    return enter


@pytest.mark.slow
@pytest.mark.xdist_group("mlflow-server")
def test_lineage_and_task_runs_are_linked_in_the_plugins_experiment(begun, server_uri, plugin, monkeypatch):
    uri = server_uri
    client = MlflowClient(uri)
    experiment = client.create_experiment("of the pipelines")
    tasks = [client.create_run(experiment, run_name=name) for name in ("run-epochs-1", "run-epochs-2")]
    run = begun(tracking={"timeout_seconds": 30})

    for number, task in enumerate(tasks, start=1):
        plugin(uri, experiment, task.info.run_id)
        monkeypatch.setenv("KFP_POD_NAME", f"pod-{number}")
        metrics = {"reward/mean": number / 2, "train/loss": 3.0, "sample/kl_to_reference": 0.5, "train/seconds": 9.0}
        MlflowTracker(run).log(Entry("train", number, metrics))

    lineage_id = MlflowTracker(run).run_id
    assert lineage_id not in {task.info.run_id for task in tasks}
    lineage = client.get_run(lineage_id)
    assert lineage.info.experiment_id == experiment
    assert client.get_experiment_by_name("reward-finetuning") is None
    assert [point.value for point in client.get_metric_history(lineage_id, "reward/mean")] == [0.5, 1.0]
    for number, task in enumerate(tasks, start=1):
        one = client.get_run(task.info.run_id)
        assert lineage.data.tags[f"task_run.{task.info.run_id}"] == f"pod-{number}"
        assert one.data.tags["lineage_run_id"] == lineage_id
        assert one.data.tags["run_directory"] == run.uri
        assert {key: value for key, value in one.data.metrics.items() if key != "seconds"} == {
            "epoch": number, "reward": number / 2, "loss": 3.0, "kl": 0.5,
        }  # fmt: skip
        assert one.data.metrics["seconds"] >= 0
        assert one.info.status == "RUNNING"  # Kubeflow Pipelines ends it


def test_a_server_of_the_run_file_is_not_left_for_the_plugins(run_directory, plugin):
    plugin("http://plugin", "7", "r")

    assert task_run(run_directory(uri="http://plugin")).run_id == "r"
    assert task_run(run_directory(uri=None)).experiment_id == "7"
    assert task_run(run_directory(uri="http://other")) is None


@pytest.mark.parametrize("missing", VARIABLES)
def test_without_the_plugin_there_is_no_task_run(run_directory, plugin, monkeypatch, missing):
    plugin("http://plugin", "7", "r")
    monkeypatch.delenv(missing)

    assert task_run(run_directory(uri=None)) is None


@pytest.fixture
def run_directory(begun):
    return lambda uri: begun(tracking={"uri": uri})
