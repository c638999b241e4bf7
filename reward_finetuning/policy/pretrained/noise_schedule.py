"""A model's noise schedule and the sampler's grid, from its scheduler's config. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config.display import shown
from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.diffusion.ddim import alphas_cumprod, ddim_grid
from reward_finetuning.diffusion.grid import Grid
from reward_finetuning.policy.pretrained.architecture import Architecture, Geometry
from reward_finetuning.policy.pretrained.flow_schedule import check_unused, flow_sampler_grid

MAX_TRAIN_STEPS = 100_000

Prediction = Literal["epsilon", "v_prediction"]
_DEFAULTS: dict[str, dict[str, Any]] = {
    "DDIMScheduler": {"timestep_spacing": "leading", "set_alpha_to_one": True},
    "PNDMScheduler": {"timestep_spacing": "leading", "set_alpha_to_one": False, "skip_prk_steps": False},
    "EulerDiscreteScheduler": {"timestep_spacing": "linspace", "final_sigmas_type": "zero"},
}
"""diffusers' schedulers whose grid is one of ours, with those defaults of their class that the grid depends on."""

_REQUIRED = {"interpolation_type": "linear", "skip_prk_steps": True, "timestep_type": "discrete"}
_OTHER_GRIDS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas")


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """What the network was trained with."""

    alpha_bars: NDArray[np.float64]
    """[num_train_timesteps]."""

    prediction: Prediction
    """What the network's output is."""


def noise_schedule(scheduler: dict[str, Any]) -> NoiseSchedule:
    """The schedule that a scheduler_config.json describes.

    Raises:
        UserError: a schedule that is not supported, or on which log-probabilities do not exist.
    """
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in list(get_args(Prediction)):
        raise UserError(
            f"the model's scheduler predicts {shown(prediction)}; supported are {' and '.join(get_args(Prediction))}"
        )
    zero_snr = bool(scheduler.get("rescale_betas_zero_snr"))
    if zero_snr and prediction == "epsilon":
        raise UserError(
            "the model's scheduler has zero terminal SNR (rescale_betas_zero_snr) and predicts epsilon: where x_T is "
            "pure noise, epsilon says nothing of the picture; such a schedule needs a v-prediction model"
        )
    if scheduler.get("trained_betas") is not None:
        raise UserError("the model's scheduler lists trained_betas; only beta_schedule is supported")
    steps = scheduler.get("num_train_timesteps", 1)
    if not isinstance(steps, int) or not 1 <= steps <= MAX_TRAIN_STEPS:
        raise UserError(
            f"the model's scheduler_config.json has num_train_timesteps {shown(steps)}; it is a number from 1 to "
            f"{MAX_TRAIN_STEPS}, and 1000 in Stable Diffusion"
        )
    try:
        alpha_bars = alphas_cumprod(
            scheduler["beta_start"],
            scheduler["beta_end"],
            scheduler["num_train_timesteps"],
            scheduler["beta_schedule"],
            zero_terminal_snr=zero_snr,
        )
    except KeyError as error:
        raise UserError(
            f"the model's scheduler_config.json has no {error}: a {scheduler.get('_class_name', 'scheduler')} "
            "is none of Stable Diffusion's"
        ) from None
    except (TypeError, ValueError) as error:
        raise UserError(f"the model's scheduler_config.json: {error}") from None
    return NoiseSchedule(alpha_bars, prediction)


def sampler_grid(
    scheduler: dict[str, Any],
    sampling: SamplingConfig,
    architecture: Architecture | None = None,
    geometry: Geometry | None = None,
) -> Grid:
    """The grid of timesteps, from the model's scheduler config and the run's sampling section.

    Args:
        scheduler: scheduler_config.json, with its class.
        sampling: settings of the run.
        architecture: of the model; a UNet when not given.
        geometry: sizes of the images, of a flow model.

    Raises:
        UserError: a step's sigma is below sampling.min_std or has no signal, or the model's own grid is none of ours.
    """
    if architecture is not None and architecture.is_flow:
        assert geometry is not None
        return flow_sampler_grid(scheduler, sampling, geometry, packed=architecture.is_packed)
    check_unused(sampling.flow)
    schedule = noise_schedule(scheduler)
    own = {"steps_offset": 1, "spacing": sampling.spacing}
    grid = own if sampling.scheduler == "own" else _of_model(scheduler)
    try:
        return ddim_grid(
            schedule.alpha_bars,
            sampling.num_steps,
            prediction=schedule.prediction,
            eta=sampling.ddim_eta,
            min_std=sampling.min_std,
            **grid,
        )
    except (TypeError, ValueError) as error:
        raise UserError(f"sampling.scheduler={sampling.scheduler}: {error}") from None


def _of_model(scheduler: dict[str, Any]) -> dict[str, Any]:
    """Arguments of `ddim_grid` for the steps that diffusers takes with the model's scheduler."""
    name = scheduler.get("_class_name", "DDIMScheduler")
    defaults = _DEFAULTS.get(name) if isinstance(name, str) else None
    if defaults is None:
        raise _other_grid(f"is a {shown(name)}; supported are {', '.join(_DEFAULTS)}")
    settings = defaults | {key: value for key, value in scheduler.items() if value is not None}
    if other := [key for key in _OTHER_GRIDS if settings.get(key)]:
        raise _other_grid(f"has {other[0]}, whose steps lie between the training steps")
    spacing, by_sigma = settings["timestep_spacing"], "final_sigmas_type" in defaults
    if spacing not in ("leading", "trailing", "linspace"):  # may be unhashable
        raise _other_grid(f"has timestep_spacing {shown(spacing)}, which is not supported")
    if by_sigma and spacing != "leading":
        raise _other_grid(f"is a {name} with timestep_spacing {spacing}, whose steps differ from DDIM's")
    for key, value in _REQUIRED.items():
        if settings.get(key, value) != value:
            raise _other_grid(f"has {key} {shown(settings[key])}; only {value} is supported")
    ends_at_image = settings["final_sigmas_type"] == "zero" if by_sigma else settings["set_alpha_to_one"]
    return {
        "steps_offset": settings.get("steps_offset", 0),
        "final_alpha_bar": 1.0 if ends_at_image else None,
        "spacing": spacing,
    }


def _other_grid(what: str) -> UserError:
    return UserError(f"sampling.scheduler=from_model: the model's scheduler {what}; use scheduler: own")
