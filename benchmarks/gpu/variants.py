"""One forward pass, and one forward and backward pass, of the network under settings that may pay; and correctness."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from gpu_measurements import Case, noise_of, policy_of, prompts_of
from random_pipelines import build
from stopwatch import timed

from reward_finetuning.diffusion import gaussian
from reward_finetuning.diffusion.rollout import step_means
from reward_finetuning.diffusion.step import DeviceGrid
from reward_finetuning.policy.load import Policy
from reward_finetuning.policy.networks import tensor_float_32


def log_probs(policy: Policy, count: int) -> torch.Tensor:
    """[count] of one step in the middle of the grid; the same cells for every policy of a model."""
    noise = noise_of(policy, count)
    steps = torch.full((count,), policy.grid.num_steps // 2, device=policy.device)
    prompts = prompts_of(policy, count)
    grid = DeviceGrid.of(policy.grid, policy.device, noise.dtype)
    mean = step_means(policy.denoiser(), noise[:, 0], prompts, grid, steps)
    return gaussian.log_prob(noise[:, 1], mean, grid.stds[steps])


def _forward(policy: Policy, count: int) -> torch.Tensor:
    with torch.no_grad():
        return log_probs(policy, count)


def _backward(policy: Policy, count: int) -> None:
    log_probs(policy, count).sum().backward()
    for weight in policy.trainable().values():
        weight.grad = None


def _channels_last(policy: Policy) -> None:
    policy.network.to(memory_format=torch.channels_last)


def _compile(policy: Policy) -> None:
    # On a CPU, generating kernels takes minutes and says nothing about a GPU; the graph is traced all the same.
    policy.network.compile(backend="inductor" if policy.device.type == "cuda" else "eager")


def _checkpointing(policy: Policy) -> None:
    policy.enable_gradient_checkpointing()
    policy.network.train()


VARIANTS: dict[str, tuple[dict[str, Any], Callable[[Policy], None] | None]] = {
    "float32": ({}, None),
    "TF32": ({"tf32": True}, None),
    "channels last": ({}, _channels_last),
    "gradient checkpointing": ({}, _checkpointing),
    "compiled": ({}, _compile),
    "bfloat16": ({"dtype": "bfloat16"}, None),
    "bfloat16, channels last": ({"dtype": "bfloat16"}, _channels_last),
    "bfloat16, compiled": ({"dtype": "bfloat16"}, _compile),
}


def variant(case: Case, name: str) -> dict[str, Any]:
    """Seconds of a forward pass and of forward and backward, and the largest difference of log-probs to float32."""
    changes, prepare = VARIANTS[name]
    fields = {field: getattr(case, field) for field in ("family", "model", "device", "side", "batch", "trainable")}
    reference, _ = policy_of(Case(**fields))
    exact = _forward(reference, case.batch)
    del reference
    changed = Case(**fields, **changes)
    policy, _ = policy_of(changed)
    if prepare is not None:
        prepare(policy)
    with tensor_float_32(allowed=changed.tf32):
        difference = (_forward(policy, case.batch).float() - exact).abs().max()
        forward = timed(lambda: _forward(policy, case.batch), case.device)
        backward = timed(lambda: _backward(policy, case.batch), case.device)
    return {
        "forward": forward.record(),
        "forward_backward": backward.record(),
        "log_prob_difference": float(f"{float(difference):.3g}"),
    }


def against_cpu(case: Case) -> dict[str, Any]:
    """Log-probs and gradient of the same weights and cells on the device and on the CPU, in float32."""
    config = case.config({"name": "prdp", "kl_weight": 1e-3, "clip_range": 1e-3}, 1)
    pipeline = build(case.model, torch.device("cpu"))
    results = []
    for device in ("cpu", case.device.type):
        model = config.model.model_copy(update={"device": device})
        policy = Policy(pipeline, model, config.sampling, seed=0)
        values = log_probs(policy, 1)
        values.sum().backward()
        gradient = torch.cat([_gradient(weight) for weight in policy.trainable().values()])
        results.append((values.detach().cpu(), gradient))
        policy.network.delete_adapters("default")
    (values, gradient), (others, other) = results
    cosine = torch.nn.functional.cosine_similarity(gradient, other, dim=0)
    return {
        "log_prob_difference": float(f"{float((values - others).abs().max()):.3g}"),
        "gradient_cosine_below_1_by": float(f"{1 - float(cosine):.3g}"),
        "gradient_norm_ratio": round(float(other.norm() / gradient.norm()), 8),
    }


def _gradient(weight: torch.nn.Parameter) -> torch.Tensor:
    gradient = torch.zeros_like(weight) if weight.grad is None else weight.grad
    return gradient.double().flatten().cpu()
