"""MLflow for real, on a sqlite store."""

import json
import re
from pathlib import Path

import psutil
import pytest
from mlflow.tracking import MlflowClient
from PIL import Image

from reward_finetuning.evaluation.exports import policy_of_epoch
from reward_finetuning.evaluation.reports import evaluation_entry, prompt_datasets
from reward_finetuning.storage.reference import weights_sha256
from reward_finetuning.tracking import (
    Entry,
    MemoryTracker,
    MlflowTracker,
    history,
    pipeline_run,
    system_metrics,
)
from reward_finetuning.tracking.journal import Journal
from reward_finetuning.tracking.lineage import Lineage
from reward_finetuning.tracking.sender import Sender
from reward_finetuning.tracking.system import watch_cpu


def points(run, key):
    tracker = MlflowTracker(run)
    history = MlflowClient(tracker.uri).get_metric_history(tracker.run_id, key)
    return sorted((point.step, point.value) for point in history)


def draw_grid(folder):
    Image.new("RGB", (8, 8), "red").save(folder / "grid.png")
    return {}


def test_points_parameters_and_images_arrive_in_one_run(begun, tmp_path):
    run = begun()
    run.commit("epochs/0002/report-a", run.identity("report", 2, ""), draw_grid)

    for epoch in (1, 2):  # a tracker for each task, as in the pipeline
        checkpoint = {f"checkpoints/epoch_{epoch:05d}.json": {"uri": f"runs/{epoch}"}}
        MlflowTracker(run).log(Entry("train", epoch, {"reward/mean": epoch / 10}, references=checkpoint))
    MlflowTracker(run).log(Entry("evaluate", 2, {"eval/x": 1.0}, {"samples": "epochs/0002/report-a/grid.png"}))

    tracker = MlflowTracker(run)
    client = MlflowClient(tracker.uri)
    (only,) = client.search_runs([client.get_experiment_by_name("reward-finetuning").experiment_id])
    assert only.info.run_id == tracker.run_id
    assert points(run, "reward/mean") == [(1, 0.1), (2, 0.2)]
    assert only.data.params["training.learning_rate"] == "0.0001"
    assert only.data.tags["fingerprint"] == run.fingerprint
    assert [file.path for file in client.list_artifacts(only.info.run_id, "checkpoints")] == [
        "checkpoints/epoch_00001.json",
        "checkpoints/epoch_00002.json",
    ]
    thumbnail, grid = (file.path for file in client.list_artifacts(only.info.run_id, "images"))
    assert re.fullmatch(r"images/samples\+step\+2\+timestamp\+\d+\+[0-9a-f-]{36}\+compressed.webp", thumbnail)
    assert grid == thumbnail.replace("+compressed.webp", ".png")


def test_the_run_says_who_made_it(begun, monkeypatch):
    monkeypatch.setenv("RFT_USER", "ada")
    run = begun()

    MlflowTracker(run).log(Entry("train", 1, {"a": 1.0}))

    tracker = MlflowTracker(run)
    assert MlflowClient(tracker.uri).get_run(tracker.run_id).data.tags["mlflow.user"] == "ada"


def test_a_report_of_the_same_task_and_epoch_counts_once(begun):
    run = begun()

    MlflowTracker(run).log(Entry("train", 1, {"a": 1.0}))
    MlflowTracker(run).log(Entry("train", 1, {"a": 2.0}))

    assert points(run, "a") == [(1, 1.0)]
    assert history(run) == {"a": [(1, 1.0)]}


def test_odd_names_are_made_ones_that_mlflow_takes(begun):
    run = begun()

    MlflowTracker(run).log(Entry("train", 1, {'reward/my "scorer", v2': 1.0}))

    assert points(run, "reward/my _scorer__ v2") == [(1, 1.0)]


def test_the_doctors_charts_come_after_those_of_evaluations_and_rewards(begun):
    run = begun()

    MlflowTracker(run).log(Entry("train", 1, {"doctor/reference_pull": 0.5, "reward/mean": 1.0}))

    assert points(run, "train/doctor/reference_pull") == [(1, 0.5)]
    assert history(run)["doctor/reference_pull"] == [(1, 0.5)]


def test_the_run_is_finished_and_can_be_taken_up_again(begun):
    run = begun()
    tracker = MlflowTracker(run)

    tracker.set_status("FINISHED")
    client = MlflowClient(tracker.uri)
    assert client.get_run(tracker.run_id).info.status == "FINISHED"

    tracker.set_status("RUNNING")
    assert client.get_run(tracker.run_id).info.status == "RUNNING"


def test_the_environments_server_is_used_unless_the_config_names_one(begun, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://from-environment")

    assert MlflowTracker(begun()).uri == "http://from-environment"
    assert MlflowTracker(begun(name="b", tracking={"uri": "http://from-config"})).uri == "http://from-config"


def test_two_tasks_that_create_the_run_at_once_end_in_one(begun, monkeypatch):
    run = begun()
    first, second = MlflowTracker(run), MlflowTracker(run)
    original = Lineage._experiment

    def create_in_between(self):
        monkeypatch.setattr(Lineage, "_experiment", original)
        second.log(Entry("evaluate", 1, {"b": 1.0}))
        return original(self)

    monkeypatch.setattr(Lineage, "_experiment", create_in_between)
    first.log(Entry("train", 1, {"a": 1.0}))

    client = MlflowClient(first.uri)
    (only,) = client.search_runs([client.get_experiment_by_name("reward-finetuning").experiment_id])
    assert {"a", "b"} <= only.data.metrics.keys()


def test_an_entry_sent_twice_is_there_once(nudged_run):
    run = nudged_run({1: 0.5})
    reported = evaluation_entry(run, policy_of_epoch(run, 1))
    tracker = MlflowTracker(run)
    tracker.log(Entry("begin", 0, {}, datasets=prompt_datasets(run)))
    tracker.log(reported)
    lineage = Lineage(run, tracker.uri, lambda: MlflowClient(tracker.uri))
    seen = everything_of(lineage)

    for entry in Journal(run).entries():  # as if the marks of what was sent had been lost
        Sender(run, lineage).send(entry)

    assert everything_of(lineage) == seen


def everything_of(lineage):
    """All that MLflow holds of a run directory, for comparison."""
    client = lineage.client
    found = {}
    for run_id in (lineage.run_id, lineage.evaluation_run_id):
        one = client.get_run(run_id)
        folders = ["", "images", "metrics", "samples", "reports", "checkpoints"]
        found[one.info.run_name] = {
            "points": {
                key: [p.to_dictionary() for p in client.get_metric_history(run_id, key)] for key in one.data.metrics
            },
            "files": [file.path for folder in folders for file in client.list_artifacts(run_id, folder or None)],
            "inputs": [each.dataset.name for each in one.inputs.dataset_inputs],
            "models": [(each.model_id, each.step) for each in one.outputs.model_outputs],
            "tags": one.data.tags,
        }
    return found


def test_an_evaluation_is_a_nested_run_with_a_table_datasets_and_a_model_that_has_its_numbers(nudged_run, monkeypatch):
    run = nudged_run({1: 0.5})
    tracker = MlflowTracker(run)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", tracker.uri)  # load_table asks there, whatever its client's server is

    tracker.log(Entry("begin", 0, {}, datasets=prompt_datasets(run)))
    tracker.log(evaluation_entry(run, policy_of_epoch(run, 1)))

    client = MlflowClient(tracker.uri)
    experiment = client.get_experiment_by_name("reward-finetuning").experiment_id
    (child,) = client.search_runs([experiment], f"tags.`mlflow.parentRunId` = '{tracker.run_id}'")
    assert child.data.metrics["eval/train/reward/gain"] == pytest.approx(0.5, abs=0.1)
    assert [(each.dataset.name, each.tags[0].value) for each in child.inputs.dataset_inputs] == [
        ("train", "evaluation")
    ]
    parent = client.get_run(tracker.run_id)
    assert [each.tags[0].value for each in parent.inputs.dataset_inputs] == ["training"]
    (output,) = parent.outputs.model_outputs
    model = client.get_logged_model(output.model_id)
    assert (output.step, model.tags["weights_sha256"]) == (1, weights_sha256(policy_of_epoch(run, 1)))
    assert {metric.key: metric.value for metric in model.metrics} == child.data.metrics
    assert json.loads(child.data.tags["mlflow.loggedArtifacts"]) == [
        {"path": "metrics/epoch_00001.json", "type": "table"},
        {"path": "samples/epoch_00001.json", "type": "table"},
    ]
    metrics = json.loads(Path(client.download_artifacts(child.info.run_id, "metrics/epoch_00001.json")).read_text())
    assert [row[:3] for row in metrics["data"]] == [["train", "", "reward"]]
    assert {key.rsplit("/", 1)[1] for key in child.data.metrics} == {"mean", "gain", "gain_low", "gain_high"}
    table = json.loads(Path(client.download_artifacts(child.info.run_id, "samples/epoch_00001.json")).read_text())
    first, second = (dict(zip(table["columns"], row, strict=True)) for row in table["data"])
    assert [first["prompt"], second["prompt"]] == ["a red circle", "a blue square"]
    assert first["reward after"] - first["reward before"] == pytest.approx(0.5, abs=0.1)


def test_the_pipeline_run_is_told_by_tags(begun, monkeypatch):
    monkeypatch.setenv("KFP_RUN_ID", "run-1")
    monkeypatch.setenv("KFP_POD_NAME", "online-fused-x2x4-1")

    assert pipeline_run() == {"pipeline_run_id": "run-1", "pipeline_pod": "online-fused-x2x4-1"}


def test_system_metrics_have_the_names_that_mlflows_ui_groups():
    watch_cpu()

    found = system_metrics()

    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_megabytes"} <= found.keys()
    assert all(value >= 0 for value in found.values())
    assert found["system/process_memory_usage_megabytes"] == pytest.approx(
        psutil.Process().memory_info().rss / 1e6, rel=0.1
    )


def test_a_run_whose_creator_never_got_the_answer_is_taken_up(begun):
    run = begun()
    tracker = MlflowTracker(run)
    lost = Lineage(run, tracker.uri, lambda: MlflowClient(tracker.uri))._create_run()["run_id"]

    tracker.log(Entry("train", 1, {"a": 1.0}))

    assert tracker.run_id == lost


def test_a_run_that_was_created_and_never_claimed_is_deleted(begun):
    run = begun()
    tracker = MlflowTracker(run)
    tracker.log(Entry("train", 1, {"a": 1.0}))
    client = MlflowClient(tracker.uri)
    ours = client.get_run(tracker.run_id)
    stray = client.create_run(ours.info.experiment_id, tags={"lineage": ours.data.tags["lineage"]})

    tracker.set_status("FINISHED")

    assert client.get_run(stray.info.run_id).info.lifecycle_stage == "deleted"
    assert client.get_run(tracker.run_id).info.status == "FINISHED"


def test_a_memory_tracker_remembers_the_first_report():
    tracker = MemoryTracker()

    tracker.log(Entry("train", 1, {"a": 1.0}))
    tracker.log(Entry("train", 1, {"a": 2.0}))

    assert tracker.entries == {("train", 1): Entry("train", 1, {"a": 1.0})}
