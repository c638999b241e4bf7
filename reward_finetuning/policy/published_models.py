"""Commit, licence and family of common base models, without a request to the hub."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["shapes", "sd1", "sd2", "sdxl"]


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
}
"""Commits are as reported by third parties. If the hub does not have a commit, the download ends with an error."""
