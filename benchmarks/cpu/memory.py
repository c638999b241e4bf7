"""Peak memory of an epoch's training above the loaded, idle program, by denoising steps and images.

    OMP_NUM_THREADS=1 python benchmarks/cpu/memory.py

Latents of Stable Diffusion at 512 x 512 (4 x 64 x 64), random, in the files that sampling writes; a UNet of a few
channels with random weights. A fresh process per line loads the policy, its optimizer and its objective, notes its
resident memory, and trains for one epoch with DDPO, checkpoint included.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from reward_finetuning.config import RunConfig
from reward_finetuning.policy.pretrained.built_in import BUILT_IN
from reward_finetuning.records import Rewards, Trajectories
from reward_finetuning.steps.next_epochs import begin
from reward_finetuning.steps.plan import cut, shards_of
from reward_finetuning.steps.sample import epoch_samples
from reward_finetuning.steps.train_epoch import train_on
from reward_finetuning.storage import Reference, RunDirectory, artifact_names
from reward_finetuning.storage.artifacts.rewards import write_rewards
from reward_finetuning.storage.artifacts.rollouts import write_micro_batch, write_samples
from reward_finetuning.tracking import MlflowTracker
from reward_finetuning.training.learner import Learner, learner_at
from reward_finetuning.training.processes import Processes

STEPS, IMAGES = (10, 50), (128, 512)
SHAPE = (4, 64, 64)
MICRO_BATCH = 8
MEGABYTE = 1e6


def write_model(folder: Path) -> None:
    """The built-in pipeline with a UNet for latents of 64 x 64."""
    from diffusers import StableDiffusionPipeline, UNet2DConditionModel

    pipeline = StableDiffusionPipeline.from_pretrained(BUILT_IN)
    torch.manual_seed(0)
    unet = UNet2DConditionModel(
        sample_size=SHAPE[-1],
        block_out_channels=(2,),
        layers_per_block=1,
        down_block_types=("DownBlock2D",),
        mid_block_type=None,
        up_block_types=("UpBlock2D",),
        norm_num_groups=1,
        cross_attention_dim=pipeline.text_encoder.config.hidden_size,
    )
    pipeline.register_modules(unet=unet)
    pipeline.save_pretrained(folder)


def config(root: Path, num_steps: int, num_images: int) -> RunConfig:
    """The run; no gate can fail, because the stored log-probs are random too."""
    return RunConfig.model_validate(
        {
            "name": f"steps-{num_steps}-images-{num_images}",
            "run_root": str(root),
            "model": {"source": str(root / "model")},
            "prompts": {"prompts_per_epoch": num_images // 8},
            "sampling": {
                "num_steps": num_steps,
                "guidance_scale": 1.0,
                "images_per_prompt": 8,
                "micro_batch_size": MICRO_BATCH,
                "height": 256,
                "width": 256,
            },
            "objective": {"name": "ddpo", "clip_range": 1e9},
            "training": {"cells_per_batch": 8},
            "loop": {"epochs": 1, "granularity": "split"},
            "tracking": {"enabled": False},
        }
    )


def write_epoch(run: RunDirectory) -> None:
    """Random rollouts and rewards of the first epoch."""
    begin(run)
    num_steps = run.config.sampling.num_steps
    samples, rng = epoch_samples(run, 1), np.random.default_rng(0)

    def draw(folder: Path) -> dict[str, object]:
        for micro_batch in range(len(samples) // MICRO_BATCH):
            latents = rng.standard_normal((MICRO_BATCH, num_steps + 1, *SHAPE), np.float32)
            log_probs = torch.zeros(MICRO_BATCH, num_steps)
            trajectories = Trajectories(torch.from_numpy(latents), log_probs, log_probs, log_probs)
            pictures = np.zeros((MICRO_BATCH, 8, 8, 3), np.uint8)
            write_micro_batch(folder, micro_batch, trajectories, pictures, np.zeros(num_steps))
        write_samples(folder, samples, MICRO_BATCH)
        return {"seconds": 0.0}

    (part,) = cut(run.config, Reference(epoch=0), 1)
    name = artifact_names.rollouts(1, part.first, part.last)
    drawn = Reference.to(name, run.commit(name, run.identity("rollouts", 1, "", "random"), draw))

    def score(folder: Path) -> dict[str, object]:
        combined = rng.standard_normal(len(samples))
        write_rewards(folder, [sample.index for sample in samples], Rewards({}, combined))
        return {"seconds": 0.0, "rollouts": drawn.checksum}

    run.commit(artifact_names.rewards(name), run.identity("rewards", 1, "", drawn.checksum), score)


def resident(key: str) -> float:
    """VmRSS or VmHWM of this process, in MB."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(key)) * 1024 / MEGABYTE


def train(run: RunDirectory) -> dict[str, float]:
    """Resident memory of the idle program, and its peak over the epoch, in MB."""
    idle: list[float] = []

    @cache
    def learner() -> Learner:
        loaded = learner_at(run, Reference(epoch=0), keep_reference=False)
        Path("/proc/self/clear_refs").write_text("5")  # the peak counts from here
        idle.append(resident("VmRSS"))
        return loaded

    before = run.latest()
    train_on(run, before, *shards_of(run, before), learner, Processes(), MlflowTracker(run))
    return {"idle": idle[0], "peak": resident("VmHWM")}


def measure(images: Sequence[int], steps: Sequence[int]) -> Iterator[dict[str, float]]:
    """Per number of images and T: megabytes of the latents, of the idle program, and of the peak above it."""
    with TemporaryDirectory() as folder:
        write_model(Path(folder) / "model")
        for num_images in images:
            for num_steps in steps:
                tree = config(Path(folder), num_steps, num_images)
                write_epoch(RunDirectory(tree))
                command = [sys.executable, __file__, tree.model_dump_json()]
                done = subprocess.run(command, check=True, capture_output=True, text=True)
                measured = json.loads(done.stdout.splitlines()[-1])
                latents = num_images * (num_steps + 1) * 4 * float(np.prod(SHAPE)) / MEGABYTE
                yield {
                    "images": num_images,
                    "steps": num_steps,
                    "latents": latents,
                    "idle": measured["idle"],
                    "above": measured["peak"] - measured["idle"],
                }


def main() -> None:
    """Print a table."""
    print("| images | T | latents, MB | idle, MB | peak above idle, MB |\n|---|---|---|---|---|", flush=True)
    for row in measure(IMAGES, STEPS):
        print(f"| {' | '.join(f'{value:.0f}' for value in row.values())} |", flush=True)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        print(json.dumps(train(RunDirectory(RunConfig.model_validate_json(sys.argv[1])))))
    else:
        main()
