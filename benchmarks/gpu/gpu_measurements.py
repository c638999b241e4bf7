"""What is measured of one model on one device. Each function returns a record for JSON."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from random_pipelines import Model, build
from stopwatch import flops, timed
from torch.profiler import ProfilerActivity, profile

from reward_finetuning.config import RunConfig
from reward_finetuning.diffusion import gaussian
from reward_finetuning.diffusion.rollout import draw, step_means
from reward_finetuning.diffusion.step import DeviceGrid
from reward_finetuning.objectives import build_objective
from reward_finetuning.policy.load import Policy
from reward_finetuning.policy.networks import tensor_float_32
from reward_finetuning.records import Batch, Conditioning, Prompt, Rollouts, Sample
from reward_finetuning.training.engine import Engine
from reward_finetuning.training.learner import Learner
from reward_finetuning.training.processes import Processes
from reward_finetuning.training.update import learn

STEPS = 5
"""Denoising steps of a measurement."""

PROMPTS = ("a red circle", "a blue square")


@dataclass(frozen=True, slots=True)
class Case:
    """One configuration to measure."""

    family: str
    model: Model
    device: torch.device
    side: int
    batch: int
    dtype: str = "float32"
    tf32: bool = False
    trainable: str = "lora"

    @property
    def name(self) -> str:
        """For tables."""
        kind = "TF32" if self.tf32 else self.dtype
        return f"{self.family} {self.side}² {kind} {self.trainable}, batch {self.batch}"

    @property
    def is_flow(self) -> bool:
        """Whether the network predicts a velocity."""
        return self.family.startswith("sd3")

    def config(self, objective: dict[str, Any], updates: int) -> RunConfig:
        """The run of this case: one epoch of 2 prompts with as many images as fill two batches."""
        return RunConfig.model_validate(
            {
                "name": "benchmark",
                "model": {"trainable": self.trainable, "dtype": self.dtype, "device": self.device.type},
                "prompts": {"prompts_per_epoch": len(PROMPTS)},
                "sampling": {
                    "num_steps": STEPS,
                    "guidance_scale": 1.0 if self.is_flow else 5.0,
                    "images_per_prompt": self.batch,
                    "micro_batch_size": self.batch,
                    "height": self.side,
                    "width": self.side,
                },
                "objective": objective,
                "training": {
                    "updates_per_epoch": updates,
                    "cells_per_batch": self.batch,
                    "learning_rate": 1e-6,
                    "old_log_probs": "replay",
                    "processes": 1,
                },
            }
        )


PRDP = {"name": "prdp", "kl_weight": 1e-3, "clip_range": 1e3}
DDPO = {"name": "ddpo", "clip_range": 1e3}


def policy_of(case: Case, objective: dict[str, Any] = PRDP, *, updates: int = 1) -> tuple[Policy, RunConfig]:
    """A policy with random weights and the config of its run."""
    config = case.config(objective, updates)
    policy = Policy(build(case.model, case.device), config.model, config.sampling, seed=0)
    policy.keep_reference()
    return policy, config


def noise_of(policy: Policy, count: int) -> torch.Tensor:
    """[count, T + 1, C, H, W] on the device."""
    shape = (count, policy.grid.num_steps + 1, *policy.latent_shape)
    return torch.randn(shape, generator=torch.Generator().manual_seed(0)).to(policy.device)


def prompts_of(policy: Policy, count: int) -> Conditioning:
    """`count` encoded prompts, in turns."""
    return policy.encode([PROMPTS[index % len(PROMPTS)] for index in range(count)])


def sampling(case: Case) -> dict[str, Any]:
    """Images per second of our loop, with and without the reference, and of the pipeline of diffusers."""
    policy, _ = policy_of(case)
    noise, prompts = noise_of(policy, case.batch), prompts_of(policy, case.batch)
    with tensor_float_32(allowed=case.tf32):
        own = timed(lambda: draw(policy.denoiser(), None, noise, prompts, policy.grid), case.device)
        with_reference = timed(
            lambda: draw(policy.denoiser(), policy.reference_denoiser(), noise, prompts, policy.grid), case.device
        )
        step = flops(lambda: _step(policy, noise[:, 0], prompts))
        stock = timed(_stock(policy, case, prompts), case.device)
    return {
        "ours": own.record(),
        "ours_with_reference": with_reference.record(),
        "diffusers": stock.record(),
        "images_per_second": round(case.batch / own.median, 4),
        "against_diffusers": round(stock.median / own.median, 3),
        "flops_per_second": step * STEPS / own.median,
    }


def _step(policy: Policy, x: torch.Tensor, prompts: Conditioning) -> torch.Tensor:
    steps = torch.zeros(len(x), dtype=torch.int64, device=x.device)
    with torch.no_grad():
        return step_means(policy.denoiser(), x, prompts, DeviceGrid.of(policy.grid, x.device, x.dtype), steps)


def _stock(policy: Policy, case: Case, prompts: Conditioning) -> Callable[[], object]:
    """The pipeline of diffusers on the same network, batch, steps and guidance, to latents."""
    embeddings: dict[str, Any] = {"prompt_embeds": prompts.embeddings.to(policy.dtype)}
    embeddings["negative_prompt_embeds"] = embeddings["prompt_embeds"]
    if prompts.pooled is not None:
        embeddings["pooled_prompt_embeds"] = prompts.pooled.to(policy.dtype)
        embeddings["negative_pooled_prompt_embeds"] = embeddings["pooled_prompt_embeds"]
    scale = 1.0 if case.is_flow else 5.0
    options: dict[str, Any] = {} if case.is_flow else {"eta": 1.0}

    @torch.no_grad()
    def call() -> object:
        with torch.autocast(case.device.type, policy.dtype, enabled=policy.dtype != torch.float32):
            return policy.pipeline(
                **embeddings,
                **options,
                num_inference_steps=STEPS,
                guidance_scale=scale,
                height=case.side,
                width=case.side,
                output_type="latent",
            )

    return call


def _rollouts(policy: Policy, count: int) -> tuple[Rollouts, Batch]:
    """An epoch of `count` images on the CPU with random rewards, as train_epoch reads it."""
    parts = []
    for start in range(0, count, count // 2):
        noise = noise_of(policy, count)[start : start + count // 2]
        drawn = draw(policy.denoiser(), None, noise, prompts_of(policy, len(noise)), policy.grid)
        parts.append(drawn)
    joined = {
        name: torch.cat([getattr(part, name).cpu() for part in parts])
        for name in ("latents", "log_probs", "log_probs_ref", "kl")
    }
    x_0 = None if parts[0].x_0 is None else torch.cat([part.final.cpu() for part in parts])
    index = torch.arange(count) % len(PROMPTS)
    prompts = [Prompt(id=str(number), text=text) for number, text in enumerate(PROMPTS)]
    samples = tuple(Sample(row, prompts[int(index[row])], row // len(PROMPTS)) for row in range(count))
    rewards = torch.randn(count, dtype=torch.float64, generator=torch.Generator().manual_seed(1))
    rollouts = Rollouts(**joined, samples=samples, x_0=x_0)
    return rollouts, Batch(rollouts.log_probs, rollouts.log_probs_ref, rewards, index, index)


def training(case: Case, objective: dict[str, Any] = PRDP, *, updates: int = 2) -> dict[str, Any]:
    """Cells per second of an epoch's training, and of a bare loop: forward, log-prob, backward on the same network."""
    policy, config = policy_of(case, objective, updates=updates)
    learner = Learner(policy, Engine(policy, config.training, Processes()), build_objective(config.objective))
    rollouts, batch = _rollouts(policy, 2 * case.batch)
    cells = batch.log_probs_old.numel() * updates
    with tensor_float_32(allowed=case.tf32):
        own = timed(lambda: learn(learner, rollouts, batch, config, 1, on_policy=True), case.device, repeats=1)
        bare = timed(_bare_epoch(policy, rollouts, case, updates), case.device, repeats=1)
    return {
        "ours": own.record(),
        "bare_loop": bare.record(),
        "cells_per_second": round(cells / own.median, 3),
        "against_bare_loop": round(bare.median / own.median, 3),
    }


def _bare_epoch(policy: Policy, rollouts: Rollouts, case: Case, updates: int) -> Callable[[], object]:
    """One pass over all cells an update, one forward and backward each, as DDPO trainers do."""
    grid = DeviceGrid.of(policy.grid.stochastic_part(), case.device, torch.float32)
    latents = rollouts.latents
    encoded = prompts_of(policy, latents.shape[0])
    count, steps = latents.shape[0], latents.shape[1] - 1
    optimizer = torch.optim.AdamW(policy.trainable().values(), lr=1e-6)

    def call() -> None:
        for _ in range(updates):
            for cells in torch.randperm(count * steps).split(case.batch):
                images, step = cells // steps, (cells % steps).to(case.device)
                x, x_prev = (latents[images, cells % steps + late].to(case.device) for late in (0, 1))
                mean = step_means(policy.denoiser(), x, encoded[images], grid, step)
                gaussian.log_prob(x_prev, mean, grid.stds[step]).sum().backward()
            optimizer.step()
            optimizer.zero_grad()

    return call


def transfers(case: Case) -> dict[str, Any]:
    """Waits of the host for the device in a denoising loop of T steps."""
    policy, _ = policy_of(case)
    noise, prompts = noise_of(policy, case.batch), prompts_of(policy, case.batch)
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if case.device.type == "cuda" else [])]
    draw(policy.denoiser(), None, noise, prompts, policy.grid)
    with profile(activities=activities) as profiler:
        draw(policy.denoiser(), None, noise, prompts, policy.grid)
    counts = {event.key: event.count for event in profiler.key_averages()}
    names = ("aten::_local_scalar_dense", "cudaStreamSynchronize", "cudaMemcpyAsync", "Memcpy HtoD", "Memcpy DtoH")
    return {"steps": STEPS} | {
        name: sum(count for key, count in counts.items() if key.startswith(name)) for name in names
    }
