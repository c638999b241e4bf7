import numpy as np
import pytest

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.pretrained.noise_schedule import sampler_grid

NOISE = {"beta_start": 0.00085, "beta_end": 0.012, "beta_schedule": "scaled_linear", "num_train_timesteps": 1000}
SPACINGS = ("leading", "trailing", "linspace", None)
CHANGES = {
    "DDIMScheduler": {},
    "PNDMScheduler": {"skip_prk_steps": True},
    "DDPMScheduler": {},
    "EulerDiscreteScheduler": {"final_sigmas_type": "sigma_min"},
    "EulerAncestralDiscreteScheduler": {},
    "LMSDiscreteScheduler": {},
    "HeunDiscreteScheduler": {},
    "DPMSolverMultistepScheduler": {"final_sigmas_type": "sigma_min"},
    "UniPCMultistepScheduler": {"final_sigmas_type": "sigma_min"},
    "KDPM2DiscreteScheduler": {},
}


GIVEN = {(name, "leading") for name in ("DDIMScheduler", "PNDMScheduler", "EulerDiscreteScheduler")}


def grid_or_refusal(scheduler, sampling):
    try:
        return sampler_grid(scheduler, sampling), ""
    except UserError as error:
        return None, str(error)


def of_diffusers(name, config, num_steps):
    """Distinct timesteps, and alpha-bar where the last step ends."""
    import diffusers

    scheduler = getattr(diffusers, name).from_config(config)
    scheduler.set_timesteps(num_steps)
    timesteps = np.unique(np.asarray(scheduler.timesteps, dtype=float))[::-1]
    if name.startswith("Euler"):
        return timesteps, float(1 / (1 + scheduler.sigmas[-1] ** 2))
    return timesteps, float(scheduler.final_alpha_cumprod)


@pytest.mark.parametrize("spacing", SPACINGS)
@pytest.mark.parametrize("num_steps", [2, 3, 7, 20, 30, 50])
@pytest.mark.parametrize("name", CHANGES)
def test_the_grid_of_the_models_scheduler_is_that_of_diffusers_or_is_refused(name, num_steps, spacing):
    config = NOISE | {"steps_offset": 1, "set_alpha_to_one": False} | CHANGES[name]
    config |= {"timestep_spacing": spacing} if spacing else {}
    sampling = SamplingConfig(scheduler="from_model", num_steps=num_steps, min_std=1e-6)

    grid, refusal = grid_or_refusal(config | {"_class_name": name}, sampling)
    if grid is None:
        assert "from_model" in refusal
        assert (name, spacing) not in GIVEN
        return

    timesteps, final = of_diffusers(name, config, num_steps)
    assert grid.timesteps.tolist() == timesteps.tolist()
    if spacing in {"leading", None}:
        assert grid.next_levels[-1] == pytest.approx(final, rel=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"_class_name": "EulerDiscreteScheduler"}, "timestep_spacing linspace, whose steps differ from DDIM's"),
        ({"_class_name": "HeunDiscreteScheduler"}, "is a 'HeunDiscreteScheduler'; supported are DDIMScheduler"),
        ({"_class_name": ["x"]}, r"is a \['x'\]; supported are"),
        ({"_class_name": "PNDMScheduler"}, "has skip_prk_steps False; only True is supported"),
    ],
)
def test_a_scheduler_whose_steps_are_others_is_refused_with_what_to_use(change, message):
    with pytest.raises(UserError, match=rf"from_model: the model's scheduler .*{message}.*; use scheduler: own"):
        sampler_grid(NOISE | change, SamplingConfig(scheduler="from_model"))


@pytest.mark.parametrize("name", CHANGES)
def test_our_own_grid_does_not_depend_on_the_models_scheduler(name):
    ours = sampler_grid(NOISE | {"_class_name": name}, SamplingConfig())

    assert ours.timesteps.tolist() == sampler_grid(NOISE, SamplingConfig()).timesteps.tolist()
