"""The worker that runs this project, and the pipeline of diffusers on the same network. Started by `workers.py`.

python our_side.py MODEL FOLDER
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import astuple
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from jobs import CLIP_RANGE, GUIDANCE, IMAGES_PER_PROMPT, LEARNING_RATE, PROMPTS, RANK, STEPS, Job, Work, serve

from reward_finetuning.config import RunConfig
from reward_finetuning.diffusion.noise import reference_cells
from reward_finetuning.policy.load import Policy
from reward_finetuning.policy.sampling import draw_micro_batch
from reward_finetuning.records import Batch, Stream
from reward_finetuning.rewards.scorer import load_scorers
from reward_finetuning.steps.next_epochs import begin
from reward_finetuning.steps.plan import cut
from reward_finetuning.steps.reward import score_rollouts
from reward_finetuning.steps.sample import draw_shard, epoch_samples
from reward_finetuning.steps.train_epoch import train_on
from reward_finetuning.storage import Reference, RunDirectory
from reward_finetuning.storage.artifacts.rewards import read_rewards
from reward_finetuning.storage.artifacts.rollouts import latents_file, micro_batches_of, read_rollouts, read_samples
from reward_finetuning.tracking import MemoryTracker
from reward_finetuning.training.learner import Learner, learner_at
from reward_finetuning.training.moving_average import Snapshot
from reward_finetuning.training.processes import Processes
from reward_finetuning.training.update import learn

OBJECTIVES: dict[str, dict[str, Any]] = {
    "ddpo": {"name": "ddpo", "clip_range": CLIP_RANGE},
    "prdp": {"name": "prdp", "clip_range": CLIP_RANGE},
}


def config(model: str, root: Path, job: Job) -> RunConfig:
    """The run of a job; `variant` names the objective if it is one."""
    variant = job.variant.split("-")
    objective = OBJECTIVES.get(variant[0], OBJECTIVES["ddpo"])
    prompts = root / "prompts.txt"
    prompts.write_text("\n".join(PROMPTS), encoding="utf-8")
    kl_share = {"kl_share": 1e-6} if "least" in variant else {}  # one step of one group of images
    return RunConfig.model_validate(
        {
            "name": "-".join(str(value) for value in astuple(job) if value != ""),
            "run_root": str(root / "runs"),
            "model": {
                "source": model,
                "trainable": "lora",
                "lora": {"rank": RANK, "alpha": RANK},
                "device": "cpu",
                "compile": "compiled" in variant,
            },
            "prompts": {"train": str(prompts), "prompts_per_epoch": job.images // IMAGES_PER_PROMPT},
            "sampling": {
                "num_steps": STEPS,
                "guidance_scale": GUIDANCE,
                "images_per_prompt": IMAGES_PER_PROMPT,
                "micro_batch_size": job.sample_batch,
                **kl_share,
            },
            "reward": {"weights": {"brightness": 1.0}, "scorers": {"brightness": {"use": "jobs:brightness"}}},
            "objective": objective,
            "training": {
                "updates_per_epoch": job.updates,
                "learning_rate": LEARNING_RATE,
                "cells_per_batch": job.train_batch,
            },
            "loop": {"epochs": 10_000},
            "tracking": {"enabled": False},
        }
    )


class Session:
    """A run of one process, as `run_epochs` keeps it: the learner stays in memory."""

    def __init__(self, run: RunDirectory) -> None:
        begin(run)
        self.run, self.latest = run, run.latest()
        self.learner: Learner = learner_at(run, self.latest, keep_reference=True)
        self._scorers = cache(lambda: load_scorers(run.config.reward))

    def draw(self) -> tuple[list[Reference], list[Reference]]:
        """Draw and score the next epoch's images."""
        parts = cut(self.run.config, self.latest, 1)
        drawn = [draw_shard(self.run, part, self.latest, lambda: self.learner.policy) for part in parts]
        return drawn, [score_rollouts(self.run, each, self._scorers) for each in drawn]

    def epoch(self) -> None:
        """Draw, score and train, checkpoint included."""
        drawn, scored = self.draw()
        self.latest = train_on(self.run, self.latest, drawn, scored, lambda: self.learner, Processes(), MemoryTracker())


class OurSide:
    """Prepares jobs; those of one config share a session."""

    def __init__(self, model: str, root: Path) -> None:
        import_module("mlflow")  # a run reports its beginning, so the program has it before its first epoch
        self._model, self._root = model, root
        self._sessions: dict[str, Session] = {}

    def session(self, job: Job) -> Session:
        """The session of a job's config, begun if there is none."""
        run = config(self._model, self._root, job)
        if run.name not in self._sessions:
            self._sessions[run.name] = Session(RunDirectory(run))
        return self._sessions[run.name]

    def prepare(self, job: Job) -> Work:
        """The work of a job."""
        session = self.session(job)
        match job.kind:
            case "sampling":
                return _sampling(session, job)
            case "training":
                return _training(session)
            case "epoch":
                return session.epoch
            case "network_share":
                return lambda: _network_share(session)
            case "network":
                return _network_alone(session, job)
        raise ValueError(f"unknown kind of job {job.kind!r}")


def _sampling(session: Session, job: Job) -> Work:
    """Draw as the step `sample` does; `stock` is the pipeline of diffusers."""
    policy, sampling = session.learner.policy, session.run.config.sampling
    samples = epoch_samples(session.run, 1)[: job.images]
    starts = range(0, len(samples), job.sample_batch)
    batches = [samples[first : first + job.sample_batch] for first in starts]
    if job.variant == "stock":
        return lambda: _stock(policy, [[sample.prompt.text for sample in batch] for batch in batches])
    reference = None if job.variant == "no-reference" else policy.reference_denoiser()
    evaluated = reference_cells(0, 1, len(samples), job.sample_batch, STEPS, share=sampling.kl_share)

    def draw() -> None:
        for start, batch in zip(starts, batches, strict=True):
            draw_micro_batch(
                policy,
                batch,
                sampling,
                denoise_ref=reference,
                seed=0,
                stream=Stream.TRAINING,
                epoch=1,
                reference_cells=None if job.variant == "all-references" else evaluated[start : start + len(batch)],
            )

    return draw


def _stock(policy: Policy, batches: Sequence[Sequence[str]]) -> None:
    policy.pipeline.set_progress_bar_config(disable=True)
    for prompts in batches:
        policy.pipeline(list(prompts), num_inference_steps=STEPS, guidance_scale=GUIDANCE, eta=1.0, output_type="np")


def _training(session: Session) -> Work:
    """An epoch's updates on rollouts in their files, from the same weights each time."""
    (drawn,), (scored,) = session.draw()
    config, learner = session.run.config, session.learner
    folder, _ = session.run.open(drawn)
    samples = read_samples(folder)
    numbers = micro_batches_of(samples, config.sampling.micro_batch_size)
    rollouts = read_rollouts([folder / latents_file(number) for number in numbers], samples)
    _, rewards = read_rewards(session.run.open(scored)[0])
    texts = list(dict.fromkeys(sample.prompt.text for sample in samples))
    index = torch.tensor([texts.index(sample.prompt.text) for sample in samples])
    combined = torch.from_numpy(rewards.combined.copy())
    batch = Batch(rollouts.log_probs, rollouts.log_probs_ref, combined, index, index)
    start = Snapshot(learner.policy.trainable(), 0)

    def train() -> dict[str, Any]:
        metrics = learn(learner, rollouts, batch, config, 1, on_policy=True)
        start.restore()
        return {"clipped": metrics.get("train/clip_fraction", 0.0)}

    return train


def _network_share(session: Session) -> dict[str, Any]:
    """The share of an epoch's CPU time in the network: its forward passes, and backward passes."""
    learner, spent = session.learner, [0.0]
    network, engine = learner.policy.network, learner.engine

    def timed(call: Callable[..., Any]) -> Callable[..., Any]:
        def timed_call(*arguments: Any, **options: Any) -> Any:
            before = time.process_time()
            try:
                return call(*arguments, **options)
            finally:
                spent[0] += time.process_time() - before

        return timed_call

    start = time.process_time()
    with (
        patch.object(network, "forward", timed(network.forward)),
        patch.object(engine, "backward", timed(engine.backward)),
    ):
        session.epoch()
    return {"share": spent[0] / (time.process_time() - start)}


def _network_alone(session: Session, job: Job) -> Work:
    """The passes of the network in an epoch of DDPO, and nothing else."""
    policy = session.learner.policy
    denoise, prompt = policy.denoiser(), policy.encode(PROMPTS[:1])

    def evaluated(size: int) -> torch.Tensor:
        x, t = torch.randn(size, *policy.latent_shape), torch.full((size,), 500)
        return denoise(x, t, prompt[torch.zeros(size, dtype=torch.int64)])

    def passes() -> None:
        with torch.no_grad():
            for _ in range(job.images // job.sample_batch * STEPS):
                evaluated(job.sample_batch)
        for _ in range(job.updates * job.images * STEPS // job.train_batch):
            evaluated(job.train_batch).mean().backward()
        policy.network.zero_grad()

    return passes


def main(model: str, root: str) -> None:
    """Serve jobs."""
    torch.set_num_threads(1)
    serve(OurSide(model, Path(root)).prepare)


if __name__ == "__main__":
    main(*sys.argv[1:])
