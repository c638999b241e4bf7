"""The worker that runs TRL's DDPOTrainer. Started by `workers.py` in the environment `.venv-trl`.

    python trl_side.py MODEL FOLDER

The trainer is that of TRL, with LoRA on the same modules. What is timed are its own methods: `_generate_samples`
(sampling), and `step`, which is a whole epoch with reward and checkpoint, or its training where samples are given.
"""

from __future__ import annotations

import sys
from itertools import count
from pathlib import Path
from typing import Any

import torch
from accelerate import PartialState
from jobs import CLIP_RANGE, GUIDANCE, IMAGES_PER_PROMPT, LEARNING_RATE, PROMPTS, STEPS, Job, Work, brightness, serve
from trl import DDPOConfig, DDPOTrainer, DefaultDDPOStableDiffusionPipeline


def build(model: str, folder: Path) -> Any:
    """A trainer for any job."""
    PartialState()  # without it, the trainer's log of its first lines fails
    config = DDPOConfig(
        seed=0,
        sample_num_steps=STEPS,
        sample_guidance_scale=GUIDANCE,
        sample_eta=1.0,
        train_learning_rate=LEARNING_RATE,
        train_clip_range=CLIP_RANGE,
        mixed_precision="no",
        project_kwargs={"project_dir": str(folder), "automatic_checkpoint_naming": True, "total_limit": 1},
    )
    pipeline = DefaultDDPOStableDiffusionPipeline(model, use_lora=True)
    number = count()

    def prompt() -> tuple[str, dict[str, Any]]:
        return PROMPTS[next(number) // IMAGES_PER_PROMPT % len(PROMPTS)], {}

    def reward(images: Any, prompts: Any, _: Any) -> tuple[Any, dict[str, Any]]:
        return brightness(images, prompts), {}

    return DDPOTrainer(config, reward, prompt, pipeline)


class TrlSide:
    """Prepares jobs for one trainer."""

    def __init__(self, trainer: Any) -> None:
        self._trainer, self._generate = trainer, trainer._generate_samples
        self._samples: dict[Job, Any] = {}
        self._epochs = count(1)  # after epoch 0, the trainer saves a checkpoint in each

    def prepare(self, job: Job) -> Work:
        """The work of a job."""
        trainer, config = self._trainer, self._trainer.config
        config.sample_batch_size, config.train_batch_size = job.sample_batch, job.train_batch
        config.sample_num_batches_per_epoch = job.images // job.sample_batch
        config.train_num_inner_epochs = job.updates
        # An update is of all cells, as in ours.
        trainer.accelerator.gradient_accumulation_steps = job.images // job.train_batch * STEPS
        trainer.accelerator.step = 0
        trainer._generate_samples = self._generate
        if job.kind == "sampling":
            return self._draw
        if job.kind == "training":
            self._samples[job] = self._samples.get(job) or self._sample()
            samples, pictures = self._samples[job]
            # A step appends the rewards to the entries of the pictures.
            trainer._generate_samples = lambda **_: (samples, [list(entry) for entry in pictures])
            return lambda: _step(trainer, 0)
        if job.kind == "epoch":
            return lambda: _step(trainer, next(self._epochs))
        raise ValueError(f"unknown kind of job {job.kind!r}")

    def _draw(self) -> None:
        self._sample()

    def _sample(self) -> Any:
        config = self._trainer.config
        return self._trainer._generate_samples(
            iterations=config.sample_num_batches_per_epoch, batch_size=config.sample_batch_size
        )


def _step(trainer: Any, epoch: int) -> None:
    trainer.step(epoch, 0)


def main(model: str, folder: str) -> None:
    """Serve jobs."""
    torch.set_num_threads(1)
    serve(TrlSide(build(model, Path(folder))).prepare)


if __name__ == "__main__":
    main(*sys.argv[1:])
