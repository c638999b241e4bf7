"""What is known of often used base models without asking the hub: the commit that is meant, the licence, the family."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Family = Literal["shapes", "sd1", "sd2", "sdxl"]


@dataclass(frozen=True, slots=True)
class KnownModel:
    """A pipeline on the hub."""

    commit: str
    licence: str
    family: Family
    size: int  # pixels of a side


_SD15 = KnownModel("451f4fe16113bff5a5d2269ed5ad43b0592e9a14", "creativeml-openrail-m", "sd1", 512)
_SD21 = KnownModel("5cae40e6a2745ae2b01ad92ae5043f95f23644d6", "openrail++", "sd2", 768)

KNOWN_MODELS = {
    "CompVis/stable-diffusion-v1-4": KnownModel(
        "133a221b8aa7292a167afc5127cb63fb5005638b", "creativeml-openrail-m", "sd1", 512
    ),
    "runwayml/stable-diffusion-v1-5": _SD15,  # gone from the hub; caches still have it under this name
    "stable-diffusion-v1-5/stable-diffusion-v1-5": _SD15,
    "stabilityai/stable-diffusion-2-1": _SD21,
    "stabilityai/stable-diffusion-xl-base-1.0": KnownModel(
        "462165984030d82259a11f4367a4eed129e94a7b", "openrail++", "sdxl", 1024
    ),
}
"""Commits as third parties report them; one that the hub lacks ends in a clear error when it is fetched."""
