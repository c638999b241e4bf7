"""Run on two processes: what all processes learn together, and what the first one learns alone, into one file.

Every objective on one small batch: the gradient in float64 and float32, and the weights after two updates in float32.
"""

import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import torch

from reward_finetuning.config.sections.model import ModelConfig
from reward_finetuning.config.sections.objective import DdpoConfig, DpokConfig, PpodConfig, PrdpConfig, RwrConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.config.sections.training import TrainingConfig
from reward_finetuning.diffusion.rollout import draw
from reward_finetuning.objectives import build_objective
from reward_finetuning.objectives.cells import CellSource, Denoisers
from reward_finetuning.objectives.two_pass import backpropagate, replay
from reward_finetuning.policy.load import load_policy
from reward_finetuning.records import Batch, Conditioning, Prompt, Rollouts, Sample
from reward_finetuning.training.engine import Engine
from reward_finetuning.training.learner import Learner
from reward_finetuning.training.processes import Processes, joined
from reward_finetuning.training.update import learn

N, K, T = 2, 4, 3
CELLS_PER_BATCH = 5  # 24 cells: five batches, so one process has more than the other, and the last one is short
MODEL, SAMPLING = ModelConfig(device="cpu"), SamplingConfig(num_steps=T, guidance_scale=3.0)
OBJECTIVES = [
    DdpoConfig(clip_range=1e-3, min_count=2),
    DpokConfig(clip_range=1e-3, kl_weight=0.1, value_updates=2),
    PpodConfig(
        kl_weight=30.0, clip_range=1e-2, pairs_per_update=4, convergence={"check_every": 1, "patience": 9}
    ),
    PrdpConfig(kl_weight=1e-3, clip_range=2e-3),
    RwrConfig(temperature=0.5),
]  # fmt: skip


def rollouts():
    """Images of the built-in model, and rewards; the same on every process."""
    g = torch.Generator().manual_seed(0)
    policy = load_policy(MODEL, SAMPLING, seed=0)
    prompts = [Prompt(str(n), text) for n, text in enumerate(["a red circle", "two blue squares"])]
    samples = tuple(Sample(i, prompts[i // K], i % K) for i in range(N * K))
    noise = torch.randn(N * K, T + 1, *policy.latent_shape, generator=g)
    drawn = draw(policy.denoiser(), None, noise, policy.encode([s.prompt.text for s in samples]), policy.grid)
    reference = drawn.log_probs + 1e-3 * torch.randn(drawn.log_probs.shape, generator=g)
    index = torch.arange(N).repeat_interleave(K)
    rewards = torch.rand(N * K, generator=g, dtype=torch.float64)
    drawn = Rollouts(drawn.latents, drawn.log_probs, reference, drawn.kl, samples)
    return drawn, Batch(drawn.log_probs, reference, rewards, index, index + 1000)


def cast(prompts, dtype):
    """Encoded prompts in another precision."""
    return Conditioning(prompts.embeddings.to(dtype))


def gradient(config, processes, drawn, batch, dtype):
    """The sum of both processes' gradients of one update off policy, and the update's metrics."""
    policy = load_policy(MODEL, SAMPLING, seed=0)
    policy.keep_reference()
    policy.network.to(dtype)
    policy._reference_network.to(dtype)
    policy._encoder._rows[""] = cast(policy.encode([""]), dtype)
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.add_(3e-4 * torch.randn(weight.shape, generator=g).to(dtype))
    prompts = cast(policy.encode([s.prompt.text for s in drawn.samples[::K]]), dtype)
    source = CellSource(drawn.latents, prompts, batch.prompt_index, policy.grid, policy.device, dtype)
    objective, share = build_objective(config), processes.share
    networks = Denoisers(policy.denoiser(), policy.unguided_denoiser(), policy.reference_denoiser())
    objective.begin_epoch(batch, source, np.random.default_rng(0))
    order = torch.randperm(N * K * T, generator=torch.Generator().manual_seed(2))
    order = source.of_images(objective.begin_update(0), order)
    log_probs = replay(networks.policy, source, order, CELLS_PER_BATCH, lambda _: None, share)
    coefficients = objective.coefficients(log_probs, batch)
    backward, progress = torch.Tensor.backward, []
    backpropagate(
        objective, networks, source, coefficients, order, CELLS_PER_BATCH, backward, progress.append, share
    )  # fmt: skip
    assert sum(progress) == len(order)
    weights = policy.trainable().values()
    processes.sum_gradients(weights)
    flat = torch.cat([weight.grad.flatten() for weight in weights])
    return {"gradient": flat, "log_probs": log_probs, "metrics": dict(objective.metrics(log_probs, batch))}


def two_updates(config, processes, drawn, batch):
    """The weights after `learn`, before it, and its metrics."""
    policy = load_policy(MODEL, SAMPLING, seed=0)
    policy.keep_reference()
    training = TrainingConfig(
        updates_per_epoch=2, learning_rate=1e-4, cells_per_batch=CELLS_PER_BATCH, max_grad_norm=1e9
    )
    learner = Learner(policy, Engine(policy, training, processes), build_objective(config))
    before = torch.cat([weight.detach().flatten() for weight in policy.trainable().values()])
    run = SimpleNamespace(model=MODEL, training=training, seed=0)
    metrics = learn(learner, drawn, batch, run, 1, on_policy=True)
    after = torch.cat([weight.detach().flatten() for weight in policy.trainable().values()])
    return {"before": before, "after": after, "metrics": metrics, "state": learner.objective.state_dict()}


def everything(processes):
    drawn, batch = rollouts()
    return {
        config.name: {
            "float64": gradient(config, processes, drawn, batch, torch.float64),
            "float32": gradient(config, processes, drawn, batch, torch.float32),
            "updates": two_updates(config, processes, drawn, batch),
        }
        for config in OBJECTIVES
    }


if __name__ == "__main__":
    with joined(MODEL) as processes:
        together = processes.gathered(everything(processes))
        if processes.is_first:
            torch.save({"together": together, "alone": everything(Processes())}, Path(sys.argv[1]))
