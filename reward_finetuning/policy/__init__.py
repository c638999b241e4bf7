"""The edge to diffusers: a pretrained pipeline as a callable denoiser with trainable weights."""
