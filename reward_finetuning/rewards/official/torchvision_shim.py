"""Let the CUDA build of torchvision, the only one on PyPI for Linux, be imported beside a CPU build of torch."""

from __future__ import annotations

from typing import Any

_libraries: list[Any] = []  # a library's operators go with it


def declare_missing_operators() -> None:
    """Declare two operators of its C++ library that torchvision takes for given; scoring calls none."""
    import torch

    if torch.version.cuda is not None or _libraries:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    for operator in ("nms", "qnms"):
        library.define(f"{operator}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    _libraries.append(library)
