"""A run whose directory is in a bucket, over a network that fails, killed on one machine and ended on another."""

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from mlflow.tracking import MlflowClient
from servers.faults import Fault

from reward_finetuning.steps.next_epochs import next_epochs
from reward_finetuning.steps.run_epochs import run_epochs
from reward_finetuning.storage import Manifest, RunDirectory
from reward_finetuning.tracking.metrics_table import named
from reward_finetuning.tracking.names import chart_name

ARTIFACTS = ("epochs/0001/policy", "epochs/0002/policy")


def checksums(config):
    """Of all policies: weights, optimizer, state and the artifact as a whole."""
    store = RunDirectory(config).store
    return [store.manifest(name).checksum for name in ARTIFACTS]


def on_disk(config, folder):
    plan = next_epochs(config.model_dump_json(), str(folder / "latest")).plan
    run_epochs(config.model_dump_json(), plan, str(folder / "policy"), str(folder / "report.html"))
    return checksums(config)


def start(config, folder, cache):
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, "-m", "reward_finetuning.pipelines.cli", "run", str(path)],
        cwd=folder,
        env=os.environ | {"RFT_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        start_new_session=True,
    )


def kill(process):
    """The process and all that it started, as a node that goes away."""
    children = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        children.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    queue = [process.pid]
    for pid in queue:
        queue += children.get(pid, [])
    for pid in queue:
        os.kill(pid, signal.SIGKILL)
    process.wait()


def wait_for(happened, process):
    deadline = time.monotonic() + 400
    while not happened():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < deadline
        time.sleep(0.05)


def bad_network():
    """One request in twelve fails in one of four ways."""
    actions = (503, "reset", 429, "lost")
    return [Fault(actions[number % 4], after=number * 11 + 3) for number in range(60)]


@pytest.mark.slow
@pytest.mark.parametrize("bucket", ["s3"], indirect=True)  # gs: the drill kills and resumes runs there
def test_a_run_in_a_bucket_ends_in_the_bits_of_one_on_disk(
    tmp_path, run_config, bucket, mlflow_store, rft, monkeypatch
):
    tracking = {"uri": f"sqlite:///{tmp_path}/runs/mlflow.db"}
    expected = on_disk(run_config(tracking={"enabled": False}), tmp_path)
    config = run_config(run_root=f"{bucket.uri}/team/runs", tracking=tracking)
    bucket.faults += [Fault(600.0, "upload", "epochs/0002/policy/manifest"), *bad_network()]

    killed = start(config, tmp_path, tmp_path / "one-machine")
    wait_for(lambda: bucket.faults[0].times == 0, killed)  # all of epoch 2 is uploaded, only its manifest is not
    kill(killed)
    failed = sum(fault.times == 0 for fault in bucket.faults[1:])
    bucket.faults += bad_network()
    shutil.rmtree(tmp_path / "one-machine")
    again = start(config, tmp_path, tmp_path / "another-machine")
    said, _ = again.communicate(timeout=500)

    assert again.returncode == 0, said
    assert failed > 10
    assert checksums(config) == expected
    assert_nothing_is_left_over(bucket)
    assert_every_point_arrived_once(RunDirectory(config), tracking["uri"])
    page = tmp_path / "runs" / ".pipelines" / "bucket" / "team" / "runs" / "tiny" / "report.html"
    assert f"page  {page.as_uri()}" in said
    assert page.stat().st_size > 1000
    assert len(list(page.parent.glob("pipeline/*/package.yaml"))) == 2  # one per attempt
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("RFT_CACHE", str(tmp_path / "a-third-machine"))
    for command, *options in (["status"], ["report"], ["export", "--to", f"{bucket.uri}/exported"]):
        done = rft(command, tmp_path / "run.yaml", *options)
        assert done.code == 0, done.out + done.err
    assert [name for name in bucket.names() if name.startswith("exported/")]


def assert_nothing_is_left_over(bucket):
    """Every data object belongs to an artifact that has a manifest."""
    epochs = [name for name in bucket.names() if name.startswith("team/runs/tiny/epochs/")]
    data = {name for name in epochs if "/." in name}
    listed = [Manifest.model_validate_json(bucket.data(name)) for name in epochs if name not in data]
    assert data == {place.object for manifest in listed for place in manifest.objects.values()}


def assert_every_point_arrived_once(run, uri):
    client = MlflowClient(uri)
    (mine,) = client.search_runs(
        [client.get_experiment_by_name("reward-finetuning").experiment_id], "tags.lineage != ''"
    )
    entries = run.store.read_all("journal", ".json")
    points = sorted(
        (chart_name(key), entry["epoch"], entry["timestamp_ms"], value)
        for entry in entries.values()
        for key, value in (named(entry["metrics"]) if entry.get("evaluation") else entry["metrics"]).items()
    )
    found = sorted(
        (point.key, point.step, point.timestamp, point.value)
        for key in {key for key, *_ in points}
        for point in client.get_metric_history(mine.info.run_id, key)
    )
    assert found == points
    assert mine.info.status == "FINISHED"
    assert {name.removesuffix(".sent") for name in run.store.names("journal") if name.endswith(".sent")} == set(entries)
