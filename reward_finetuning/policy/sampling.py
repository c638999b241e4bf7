"""Draw one micro-batch of images with a policy."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.diffusion.noise import image_generator, image_noise
from reward_finetuning.diffusion.rollout import draw
from reward_finetuning.policy.finite import check_outputs
from reward_finetuning.policy.load import Policy
from reward_finetuning.records import Denoiser, Sample, Stream, Trajectories


def micro_batch_noise(
    samples: Sequence[Sample],
    sampling: SamplingConfig,
    num_steps: int,
    shape: tuple[int, int, int],
    *,
    seed: int,
    stream: Stream,
    epoch: int,
) -> Tensor:
    """Noise [micro_batch_size, T + 1, C, H, W] of at most micro_batch_size samples, on the CPU; the last one repeats.

    Another thread can draw it: each image has a generator, and no network is evaluated.
    """
    generators = (image_generator(seed, stream, epoch, each.prompt.id, each.image_index) for each in samples)
    noise = [image_noise(generator, num_steps, shape) for generator in generators]
    return torch.stack([*noise, *[noise[-1]] * (sampling.micro_batch_size - len(noise))])


def draw_micro_batch(
    policy: Policy,
    samples: Sequence[Sample],
    sampling: SamplingConfig,
    *,
    denoise_ref: Denoiser | None,
    seed: int,
    stream: Stream,
    epoch: int,
    reference_cells: NDArray[np.bool_] | None = None,
    noise: Tensor | None = None,
) -> tuple[Trajectories, NDArray[np.uint8]]:
    """Trajectories and pictures of at most micro_batch_size samples, on the CPU; arguments as of `draw`.

    `noise` is that of `micro_batch_noise`, if it was drawn before.

    A short micro-batch is padded to the fixed size, because rounding depends on the size of a batch: so an image has
    the same bits whichever shard draws it.

    Raises:
        TrainingError: a latent, log-prob or picture is not finite.
    """
    size = sampling.micro_batch_size
    padded = [*samples, *[samples[-1]] * (size - len(samples))]
    if noise is None:
        noise = micro_batch_noise(
            samples, sampling, policy.grid.num_steps, policy.latent_shape, seed=seed, stream=stream, epoch=epoch
        )
    trajectories = draw(
        policy.denoiser(),
        denoise_ref,
        noise.to(policy.device),
        policy.encode([sample.prompt.text for sample in padded]),
        policy.grid,
        latents_dtype=getattr(torch, sampling.latents_dtype),
        reference_cells=reference_cells,
    )
    _check(policy, trajectories, reference_cells)
    images = policy.decode(trajectories.final)
    kept = len(samples)
    tensors = {field.name: getattr(trajectories, field.name) for field in fields(trajectories)}
    drawn = {name: tensor[:kept].cpu() for name, tensor in tensors.items() if tensor is not None}
    return Trajectories(**drawn), images[:kept]


def _check(policy: Policy, drawn: Trajectories, reference_cells: NDArray[np.bool_] | None) -> None:
    """Latents first: every other number depends on them."""
    everywhere = np.ones(drawn.kl.shape, dtype=np.bool_)
    evaluated = torch.from_numpy(everywhere if reference_cells is None else reference_cells)
    images = len(evaluated)  # without those that pad the micro-batch
    check_outputs("latents", [drawn.latents, drawn.final], policy.network_name, policy.network, policy.dtype)
    log_probs = [drawn.log_probs, *(values[:images][evaluated] for values in (drawn.log_probs_ref, drawn.kl))]
    check_outputs("log-probs", log_probs, policy.network_name, policy.network, policy.dtype)
