"""The details of a page: only what the run directory records."""

from types import SimpleNamespace

import pytest

from reward_finetuning.config import RunConfig
from reward_finetuning.evaluation.provenance import provenance
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import Entry
from reward_finetuning.tracking.journal import Journal

COMMIT, OTHER = "a" * 40, "b" * 40
CPU = {"hardware": "A CPU, 2 cores", "code_version": COMMIT, "processes": 1, "threads": 2}
GPU = {"hardware": "NVIDIA L4", "code_version": COMMIT, "processes": 4, "threads": 8}
SECONDS = {"sample/seconds": 1800.0, "reward/seconds": 360.0, "train/seconds": 3600.0}


@pytest.fixture
def facts_of(tmp_path):
    """Facts of a run whose epochs were trained on the given machines."""

    def facts(*machines, version=COMMIT, changes=None):
        config = RunConfig.model_validate({"name": "run", "run_root": str(tmp_path), **(changes or {})})
        run = RunDirectory(config)
        run.begin({}, {"code_version": version})
        for epoch, machine in enumerate(machines, start=1):
            Journal(run).add(Entry("train", epoch, SECONDS, machine=machine))
        return provenance(run, SimpleNamespace(epoch=len(machines), policy="p"))

    return facts


def test_method_learning_rate_steps_and_guidance_are_those_of_run_json(facts_of):
    changes = {
        "objective": {"name": "prdp", "kl_weight": 0.25},
        "training": {"learning_rate": 3e-5},
        "sampling": {"num_steps": 20, "guidance_scale": 5.0, "images_per_prompt": 4},
    }

    facts = facts_of(CPU, changes=changes)

    assert facts["Method"].startswith("prdp; kl_weight 0.25 (default ")
    assert "clip_range" not in facts["Method"]
    assert (facts["Learning rate"], facts["Denoising steps"], facts["Guidance scale"]) == ("3e-05", "20", "5")
    assert "sampling.images_per_prompt 4 (default 8)" in facts["Other settings"]
    assert "learning_rate" not in facts["Other settings"]


def test_cpu_hours_count_threads_and_gpu_hours_count_processes_of_training(facts_of):
    on_cpu = facts_of(CPU)

    assert on_cpu["CPU hours"].startswith("3.2 (sample 1, reward 0.2, train 2;")
    assert on_cpu["Hardware"] == "A CPU, 2 cores"


def test_gpu_hours_are_those_of_all_gpus(facts_of):
    facts = facts_of(GPU, GPU)

    assert facts["GPU hours"].startswith("9.2 (sample 1, reward 0.2, train 8;")


def test_a_run_that_recorded_nothing_says_unknown(facts_of):
    facts = facts_of({}, version="0.1.0")

    assert facts["Git commit"] == "unknown (version 0.1.0)"
    assert facts["Hardware"] == facts["GPU hours"] == "unknown"


def test_epochs_on_other_hardware_and_code_are_listed(facts_of):
    facts = facts_of({}, CPU, GPU | {"code_version": OTHER})

    assert facts["Hardware"] == "unknown (1 epoch), A CPU, 2 cores (1 epoch), NVIDIA L4 (1 epoch)"
    assert facts["Git commit"] == f"{COMMIT}; later epochs: {OTHER}"
    assert facts["GPU hours"] == "unknown"
