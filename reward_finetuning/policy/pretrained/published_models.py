"""Commit, licence and family of common base models, without a request to the hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["shapes", "shapes-flow", "sd1", "sd2", "sdxl", "sd3", "sd3.5-medium", "sd3.5-large", "flux"]


@dataclass(frozen=True, slots=True)
class PublishedModel:
    """A pipeline on the hub at one commit."""

    commit: str
    licence: str
    family: Family
    size: int
    """Pixels per side."""


_SD15 = PublishedModel("451f4fe16113bff5a5d2269ed5ad43b0592e9a14", "creativeml-openrail-m", "sd1", 512)
_SD21 = PublishedModel("5cae40e6a2745ae2b01ad92ae5043f95f23644d6", "openrail++", "sd2", 768)

PUBLISHED_MODELS = {
    "CompVis/stable-diffusion-v1-4": PublishedModel(
        "133a221b8aa7292a167afc5127cb63fb5005638b", "creativeml-openrail-m", "sd1", 512
    ),
    "runwayml/stable-diffusion-v1-5": _SD15,  # removed from the hub; caches still have it under this name
    "stable-diffusion-v1-5/stable-diffusion-v1-5": _SD15,
    "stabilityai/stable-diffusion-2-1": _SD21,
    "stabilityai/stable-diffusion-xl-base-1.0": PublishedModel(
        "462165984030d82259a11f4367a4eed129e94a7b", "openrail++", "sdxl", 1024
    ),
    "stabilityai/stable-diffusion-3-medium-diffusers": PublishedModel(
        "ea42f8cef0f178587cf766dc8129abd379c90671", "stabilityai-nc-research-community", "sd3", 1024
    ),
    "stabilityai/stable-diffusion-3.5-medium": PublishedModel(
        "b940f670f0eda2d07fbb75229e779da1ad11eb80", "stabilityai-ai-community", "sd3.5-medium", 1024
    ),
    "stabilityai/stable-diffusion-3.5-large": PublishedModel(
        "ceddf0a7fdf2064ea28e2213e3b84e4afa170a0f", "stabilityai-ai-community", "sd3.5-large", 1024
    ),
    "black-forest-labs/FLUX.1-dev": PublishedModel(
        "3de623fc3c33e44ffbe2bad470d0f45bccf2eb21", "flux-1-dev-non-commercial-license", "flux", 1024
    ),
    "black-forest-labs/FLUX.1-schnell": PublishedModel(
        "741f7c3ce8b383c54771c7003378a50191e9efe9", "apache-2.0", "flux", 1024
    ),
}
"""Commits are as reported by third parties. If the hub does not have a commit, the download ends with an error."""
