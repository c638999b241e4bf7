"""Run on two processes: the gradient of sharded weights, and that of one process with whole weights, into one file."""

import sys
from pathlib import Path

import numpy as np
import torch
from train_together import CELLS_PER_BATCH, MODEL, OBJECTIVES, SAMPLING, K, N, T, rollouts

from reward_finetuning.config.sections.training import TrainingConfig
from reward_finetuning.objectives import build_objective
from reward_finetuning.objectives.cells import CellSource, Denoisers
from reward_finetuning.objectives.one_pass import backpropagate_once, one_pass_size
from reward_finetuning.objectives.two_pass import backpropagate, replay
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.sharding import is_sharded
from reward_finetuning.training.engine import Engine
from reward_finetuning.training.processes import Processes, joined


def gradient(config, processes, drawn, batch):
    """What an update sees: its gradient and log-probs, metrics, and the norm that it clips."""
    training = TrainingConfig(sharding="fsdp", learning_rate=1e-4, max_grad_norm=1e-3)
    policy = load_policy(MODEL, SAMPLING, seed=0, shards=training.shards(processes.count))
    policy.keep_reference()
    g = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.add_(3e-4 * torch.randn(weight.shape, generator=g))
    engine = Engine(policy, training, processes)
    prompts = policy.encode([s.prompt.text for s in drawn.samples[::K]])
    source = CellSource(drawn.latents, prompts, batch.prompt_index, policy.grid, policy.device)
    objective, share = build_objective(config), engine.share
    uncond_gradient = config.name != "prdp"  # without: two passes of the network a batch, one of them without gradient
    networks = Denoisers(
        policy.denoiser(uncond_gradient=uncond_gradient), policy.unguided_denoiser(), policy.reference_denoiser()
    )
    objective.begin_epoch(batch, source, np.random.default_rng(0))
    order = torch.randperm(N * K * T, generator=torch.Generator().manual_seed(2))
    order = source.of_images(objective.begin_update(0), order)
    if one_pass_size(objective, batch.prompt_index, T, CELLS_PER_BATCH) is not None:
        log_probs = backpropagate_once(
            objective, networks, source, batch, order, CELLS_PER_BATCH, engine.backward, lambda _: None, share
        )
    else:
        log_probs = replay(networks.policy, source, order, CELLS_PER_BATCH, lambda _: None, share)
        coefficients = objective.coefficients(log_probs, batch)
        backpropagate(
            objective, networks, source, coefficients, order, CELLS_PER_BATCH, engine.backward, lambda _: None, share
        )
    assert engine.gradient_is_finite()
    weights = policy.trainable()
    assert all(is_sharded(weight) == (processes.count == 2) for weight in weights.values())
    gradients = processes.whole({name: weight.grad for name, weight in weights.items()})
    gradients = {name: whole.clone() for name, whole in gradients.items()}  # a step clips them in place
    metrics, norm = dict(objective.metrics(log_probs, batch)), engine.step()
    drawn_apart = passes_of_one(policy, processes, drawn)
    return {"gradient": gradients, "metrics": metrics, "norm": norm, "log_probs": log_probs, "apart": drawn_apart}


def passes_of_one(policy, processes, drawn):
    """The denoiser's output with whole weights: from the first process alone, and then from all."""
    x, prompt = drawn.latents[:1, 0], policy.encode([drawn.samples[0].prompt.text])
    t = torch.tensor([int(policy.grid.timesteps[0])])
    with torch.no_grad(), policy.gathered():
        alone = policy.denoiser()(x, t, prompt) if processes.is_first else None
    with torch.no_grad():
        together = policy.denoiser()(x, t, prompt)
    return alone, together


def everything(processes):
    drawn, batch = rollouts()
    configs = [config for config in OBJECTIVES if config.name in {"dpok", "prdp", "rwr"}]
    return {config.name: gradient(config, processes, drawn, batch) for config in configs}


if __name__ == "__main__":
    with joined(MODEL) as processes:
        together = everything(processes)
        if processes.is_first:
            torch.save({"together": together, "alone": everything(Processes())}, Path(sys.argv[1]))
