"""The grid of a flow model, from its scheduler's config. Needs no torch."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.sampling import FlowConfig, SamplingConfig
from reward_finetuning.diffusion.flow import euler_grid, flow_grid, flow_levels, resolution_mu, shifted
from reward_finetuning.diffusion.flow_cps import flow_cps
from reward_finetuning.diffusion.flow_sde import flow_sde
from reward_finetuning.diffusion.grid import Grid
from reward_finetuning.policy.pretrained.architecture import Geometry

SCHEDULER = "FlowMatchEulerDiscreteScheduler"
_NUM_TRAIN_TIMESTEPS = 1000
_UNUSED = (
    "invert_sigmas",
    "shift_terminal",
    "use_karras_sigmas",
    "use_exponential_sigmas",
    "use_beta_sigmas",
    "stochastic_sampling",
)
_OF_UNETS = ("ddim_eta", "spacing", "min_std")


def flow_sampler_grid(scheduler: dict[str, Any], sampling: SamplingConfig, geometry: Geometry, *, packed: bool) -> Grid:
    """The grid of noise levels that diffusers' own pipeline has, with the transitions of `sampling.flow`.

    Args:
        scheduler: scheduler_config.json, with its class.
        sampling: number of steps and sampler.
        geometry: sizes of the images, on which dynamic shifting depends.
        packed: whether the pipeline is FLUX's, whose levels end at 1 / T before they are shifted.

    Raises:
        UserError: a scheduler that is not supported, a setting of UNets, or no stochastic step.
    """
    _check(scheduler)
    defaults = SamplingConfig()
    if changed := [name for name in _OF_UNETS if getattr(sampling, name) != getattr(defaults, name)]:
        raise UserError(
            f"sampling.{changed[0]} belongs to UNets, and this is a flow model: remove it; see sampling.flow"
        )
    levels = _levels(scheduler, sampling.num_steps, geometry.num_tokens, packed=packed)
    flow = sampling.flow
    if flow.sampler == "ode":
        return euler_grid(levels)
    transitions = (flow_cps if flow.sampler == "cps" else flow_sde)(levels, eta=flow.eta)
    try:
        return flow_grid(levels, transitions, min_std=flow.min_std, window=flow.window)
    except ValueError as error:
        raise UserError(f"sampling.flow: {error}; use more steps, a larger eta, or a lower min_std") from None


def _check(scheduler: dict[str, Any]) -> None:
    name = scheduler.get("_class_name")
    if name != SCHEDULER:
        raise UserError(f"the model's scheduler is a {shown(name)}; a flow model needs a {SCHEDULER}")
    if other := [key for key in _UNUSED if scheduler.get(key)]:
        raise UserError(f"the model's scheduler has {other[0]} {shown(scheduler[other[0]])}, which is not supported")
    if (steps := scheduler.get("num_train_timesteps", _NUM_TRAIN_TIMESTEPS)) != _NUM_TRAIN_TIMESTEPS:
        raise UserError(f"the model's scheduler has num_train_timesteps {shown(steps)}; only 1000 is supported")
    if scheduler.get("use_dynamic_shifting") and (kind := scheduler.get("time_shift_type")) not in {
        None,
        "exponential",
    }:
        raise UserError(f"the model's scheduler has time_shift_type {shown(kind)}; only exponential is supported")
    for key in ("shift", "base_shift", "max_shift", "base_image_seq_len", "max_image_seq_len"):
        if (value := scheduler.get(key)) is not None and not isinstance(value, int | float):
            raise UserError(f"the model's scheduler_config.json has {key} {shown(value)}; it is a number")


def _levels(scheduler: dict[str, Any], num_steps: int, num_tokens: int, *, packed: bool) -> NDArray[np.float64]:
    if scheduler.get("use_dynamic_shifting"):
        mu = resolution_mu(
            num_tokens,
            base_tokens=scheduler.get("base_image_seq_len", 256),
            max_tokens=scheduler.get("max_image_seq_len", 4096),
            base_mu=scheduler.get("base_shift", 0.5),
            max_mu=scheduler.get("max_shift", 1.15),
        )
        return flow_levels(num_steps, mu=mu, smallest=None if packed else 1 / _NUM_TRAIN_TIMESTEPS)
    shift = scheduler.get("shift", 1.0)
    # The scheduler's smallest level is shifted already, and shifted again with the others.
    smallest = float(shifted(np.array(1 / _NUM_TRAIN_TIMESTEPS), shift))
    return flow_levels(num_steps, shift=shift, smallest=None if packed else smallest)


def check_unused(flow: FlowConfig) -> None:
    """Refuse settings of flow models for a UNet.

    Raises:
        UserError: naming one.
    """
    defaults = FlowConfig()
    if changed := [name for name in FlowConfig.model_fields if getattr(flow, name) != getattr(defaults, name)]:
        raise UserError(f"sampling.flow.{changed[0]} belongs to flow models, and this model has a UNet: remove it")
