"""The maths of sampling: pure functions of tensors and of a callable denoiser."""
