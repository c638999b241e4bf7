"""One seed, one policy: split with 1 and 3 shards, fused, and fused killed in epoch 2 and started again."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

RUN = {
    "prompts": {"prompts_per_epoch": 3},
    "sampling": {"num_steps": 2, "guidance_scale": 3.0, "images_per_prompt": 4, "micro_batch_size": 4},
    "training": {"cells_per_batch": 8, "updates_per_epoch": 2, "learning_rate": 1e-4},
    "objective": {"name": "prdp", "kl_weight": 1e-3, "clip_range": 1e-3},
    "evaluation": {"images_per_prompt": 1},
    "loop": {"epochs": 2, "epochs_per_run": 2, "evaluate_every": 2},
    "tracking": {"enabled": False},
}


def start(folder, name, **loop):
    path = folder / f"{name}.yaml"
    prompts = folder / "evaluation.txt"
    prompts.write_text("a red circle\na blue square\n", encoding="utf-8")
    evaluation = RUN["evaluation"] | {"prompt_sets": {"few": str(prompts)}}
    config = {"name": name, "run_root": str(folder / "runs"), **RUN, "loop": RUN["loop"] | loop}
    config["evaluation"] = evaluation
    path.write_text(yaml.safe_dump(config), encoding="utf-8")
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        [sys.executable, "-m", "reward_finetuning.pipelines.cli", "run", str(path)],
        env=environment, stdout=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def digest(folder, name):
    latest = json.loads((folder / "runs" / name / "latest.json").read_text())
    assert latest["epoch"] == 2
    return latest["facts"]["weights_sha256"]


def kill_in_epoch_2(process, folder, name):
    """SIGKILL the whole tree of processes once epoch 2 was sampled and is being trained on."""
    epoch = folder / "runs" / name / "epochs" / "0002"
    deadline = time.monotonic() + 300
    while not list(epoch.glob("rewards-*/manifest.json")):
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.005)
    for pid in descendants(process.pid):
        os.kill(pid, signal.SIGKILL)
    process.wait()
    assert not (epoch / "policy").exists(), "too late: epoch 2 was committed before the kill"


def descendants(root):
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents.setdefault(int(fields[1]), []).append(int(stat.parent.name))
    found, queue = [], [root]
    while queue:
        pid = queue.pop()
        found.append(pid)
        queue += parents.get(pid, [])
    return found


@pytest.mark.slow
def test_split_sharded_fused_and_killed_runs_end_in_the_same_bits(tmp_path, capsys):
    runs = {
        "split-1": {"granularity": "split", "num_shards": 1},
        "split-3": {"granularity": "split", "num_shards": 3},
        "fused": {"granularity": "fused"},
        "killed": {"granularity": "fused"},
    }
    for name, loop in runs.items():
        process = start(tmp_path, name, **loop)
        if name == "killed":
            kill_in_epoch_2(process, tmp_path, name)
            process = start(tmp_path, name, **loop)
        assert process.wait() == 0, name

    digests = {name: digest(tmp_path, name) for name in runs}

    with capsys.disabled():
        print()
        for name, sha256 in digests.items():
            print(f"{sha256}  {name}")
    assert len(set(digests.values())) == 1
