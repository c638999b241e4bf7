"""Makes the CUDA build of torchvision, the only build for Linux on PyPI, importable with a CPU build of torch."""

from __future__ import annotations

from typing import Any

_libraries: list[Any] = []  # keeps the libraries alive: their operators are removed with them


def declare_missing_operators() -> None:
    """Declare two operators of the C++ library of torchvision, which its import requires and scoring does not call."""
    import torch

    if torch.version.cuda is not None or _libraries:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
