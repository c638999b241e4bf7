import struct
import sys
from pathlib import Path

import google_crc32c
import pytest
from tensorboardX.proto.event_pb2 import Event

from reward_finetuning.config import UserError
from reward_finetuning.pipelines.local.preflight import check_run
from reward_finetuning.tracking import Entry, MlflowTracker

ENABLED = {"tracking": {"enabled": False, "tensorboard": True}}


def masked(data):
    crc = google_crc32c.value(data)
    return (((crc >> 15) | (crc << 17)) + 0xA282EAD8) & 0xFFFFFFFF


def scalars(run):
    """(tag, step, value) of all event files. A record is its length, a checksum, the data, a checksum."""
    points = []
    for path in sorted((Path(run.uri) / "tensorboard").iterdir()):
        content, offset = path.read_bytes(), 0
        while offset < len(content):
            header = content[offset : offset + 8]
            (length,) = struct.unpack("<Q", header)
            data = content[offset + 12 : offset + 12 + length]
            sums = struct.unpack("<I", content[offset + 8 : offset + 12]) + struct.unpack(
                "<I", content[offset + 12 + length : offset + 16 + length]
            )
            assert sums == (masked(header), masked(data))
            event = Event.FromString(data)
            points += [(value.tag, event.step, value.simple_value) for value in event.summary.value]
            offset += length + 16
    return sorted(points)


def test_metrics_become_scalars_with_the_epoch_as_step(begun):
    run = begun(**ENABLED)
    tracker = MlflowTracker(run)

    for epoch in (1, 2):
        tracker.log(Entry("train", epoch, {"reward/mean": epoch / 4, "train/loss": 2.0}))
    tracker.log(Entry("begin", 2, {}))

    assert scalars(run) == [
        ("reward/mean", 1, 0.25), ("reward/mean", 2, 0.5), ("train/loss", 1, 2.0), ("train/loss", 2, 2.0),
    ]  # fmt: skip


def test_an_entry_that_was_reported_before_is_not_written_again(begun):
    run = begun(**ENABLED)

    for _ in range(2):
        MlflowTracker(run).log(Entry("train", 1, {"reward/mean": 0.25}))

    assert scalars(run) == [("reward/mean", 1, 0.25)]


def test_without_the_setting_there_are_no_event_files(begun):
    run = begun(tracking={"enabled": False})

    MlflowTracker(run).log(Entry("train", 1, {"reward/mean": 0.25}))

    assert not (Path(run.uri) / "tensorboard").exists()


def test_a_missing_package_is_refused_before_any_work_and_costs_a_task_only_a_warning(
    run_config, begun, monkeypatch, capsys
):
    for name in ("tensorboardX", "tensorboardX.event_file_writer"):
        monkeypatch.setitem(sys.modules, name, None)
    monkeypatch.setattr("reward_finetuning.tracking.tensorboard.find_spec", lambda name: None)

    with pytest.raises(UserError, match=r"needs the package tensorboardX: pip install 'reward-finetuning\[train\]'"):
        check_run(run_config(**ENABLED))
    tracker = MlflowTracker(begun(**ENABLED))
    for epoch in (1, 2):
        tracker.log(Entry("train", epoch, {"reward/mean": 0.25}))

    assert "".join(capsys.readouterr()).count("no event files are written") == 1


def test_a_bucket_has_no_folder_for_event_files(run_config):
    with pytest.raises(ValueError, match=r"tracking.tensorboard writes into a folder, and run_root is gs://b/runs"):
        run_config(run_root="gs://b/runs", tracking={"uri": "http://mlflow", "tensorboard": True})
