"""The maths of sampling: grid, step, log-probability, rollout. Pure functions of tensors and a callable denoiser."""
