"""The learning objectives, chosen by `name`."""

from typing import Annotated, Literal

from pydantic import Field, PositiveFloat

from reward_finetuning.config.base import Frozen


class PrdpConfig(Frozen):
    """Proximal reward difference prediction (arXiv:2402.08714)."""

    name: Literal["prdp"] = "prdp"

    kl_weight: PositiveFloat = 3e-5
    """beta, reward units per nat per latent element (mean over T). The paper's 3e-5 hardly acts; 1 to 10 keeps a Stable
    Diffusion near its reference. What acts depends on sizes: about std(r) / std(s)."""

    clip_range: PositiveFloat = 1e-4
    """epsilon, nats per latent element: how far a step's log-ratio may move in an epoch before it stops counting."""

    clipping: bool = True
    """False drops the proximal clipping (for the ablation; unstable)."""

    precision: Literal["float64", "float32"] = "float64"
    """In what the pairs are decided. float32, as in the paper's code, cannot resolve the maximum at its beta."""


ObjectiveConfig = Annotated[PrdpConfig, Field()]
