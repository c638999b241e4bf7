"""A model's noise schedule and the sampler's grid, from its scheduler's config. Needs no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.diffusion.grid import Grid, alphas_cumprod, strided_grid

Prediction = Literal["epsilon", "v_prediction"]
_OTHER_GRIDS = ("use_karras_sigmas", "use_exponential_sigmas", "use_beta_sigmas", "use_flow_sigmas")


@dataclass(frozen=True, slots=True)
class NoiseSchedule:
    """What the network was trained with."""

    alpha_bars: NDArray[np.float64]  # [num_train_timesteps]
    prediction: Prediction  # what the network's output is


def noise_schedule(scheduler: dict[str, Any]) -> NoiseSchedule:
    """The schedule that a scheduler_config.json describes.

    Raises:
        UserError: a schedule that is not supported, or on which log-probabilities do not exist.
    """
    prediction = scheduler.get("prediction_type", "epsilon")
    if prediction not in get_args(Prediction):
        raise UserError(
            f"the model's scheduler predicts {prediction!r}; supported are {' and '.join(get_args(Prediction))}"
        )
    zero_snr = bool(scheduler.get("rescale_betas_zero_snr"))
    if zero_snr and prediction == "epsilon":
        raise UserError(
            "the model's scheduler has zero terminal SNR (rescale_betas_zero_snr) and predicts epsilon: where x_T is "
            "pure noise, epsilon says nothing of the picture; such a schedule needs a v-prediction model"
        )
    if scheduler.get("trained_betas") is not None:
        raise UserError("the model's scheduler lists trained_betas; only beta_schedule is supported")
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
    except ValueError as error:
        raise UserError(f"the model's scheduler: {error}") from None
    return NoiseSchedule(alpha_bars, prediction)


def sampler_grid(scheduler: dict[str, Any], sampling: SamplingConfig) -> Grid:
    """The grid of timesteps, from the model's scheduler config and the run's sampling section.

    Raises:
        UserError: a step's sigma is below sampling.min_std or has no signal, or the model's own grid is none of ours.
    """
    alpha_bars = noise_schedule(scheduler).alpha_bars
    own = {"steps_offset": 1, "spacing": sampling.spacing}
    grid = own if sampling.scheduler == "own" else _of_model(scheduler)
    try:
        return strided_grid(alpha_bars, sampling.num_steps, eta=sampling.ddim_eta, min_std=sampling.min_std, **grid)
    except ValueError as error:
        raise UserError(f"sampling.scheduler={sampling.scheduler}: {error}") from None


def _of_model(scheduler: dict[str, Any]) -> dict[str, Any]:
    if other := [key for key in _OTHER_GRIDS if scheduler.get(key)]:
        raise UserError(
            f"sampling.scheduler=from_model: the model's scheduler has {other[0]}, whose steps lie between the "
            "training steps; use scheduler: own"
        )
    spacing = scheduler.get("timestep_spacing", "leading")
    if spacing not in {"leading", "trailing", "linspace"}:
        raise UserError(
            f"sampling.scheduler=from_model: timestep_spacing {spacing!r} is not supported; use scheduler: own"
        )
    return {
        "steps_offset": scheduler.get("steps_offset", 0),
        "final_alpha_bar": 1.0 if scheduler.get("set_alpha_to_one", True) else None,
        "spacing": spacing,
    }
