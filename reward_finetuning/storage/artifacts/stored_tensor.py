"""A tensor in several files of which only the items that are asked for are in memory."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config.errors import ArtifactError
from reward_finetuning.storage.documents import contents_of

if TYPE_CHECKING:
    from torch import Tensor

_DTYPES = {"F16": np.float16, "F32": np.float32}
_TOUCH_SECONDS = 60.0


class StoredTensor:
    """A tensor [B, ...] whose rows are in several safetensors files; an index reads its items from them.

    The files are not mapped: pages of a mapping count as memory of the process as long as they are resident, and pages
    of large folios stay resident after madvise.
    """

    def __init__(self, files: Sequence[Path], name: str) -> None:
        """The tensor `name` of all these files, concatenated along its first axis.

        Raises:
            ArtifactError: a file is no safetensors file, holds no such tensor, or one of another shape or type.
        """
        self._parts = [_part(file, name) for file in files]
        first = self._parts[0]
        for part in self._parts:
            if (part.shape[1:], part.dtype) != (first.shape[1:], first.dtype):
                raise ArtifactError(
                    f"{part.file}: {name} is {list(part.shape[1:])} {part.dtype} per image; "
                    f"{first.file} has {list(first.shape[1:])} {first.dtype}"
                )
        rows = [part.shape[0] for part in self._parts]
        self.shape = (sum(rows), *first.shape[1:])
        self._first_rows = np.cumsum([0, *rows[:-1]])
        self._touched = -math.inf

    def __getitem__(self, index: Tensor | tuple[Tensor, Tensor], /) -> Tensor:
        """Items at an index into the first axis, or at a pair of indices into the first two; not negative.

        An index is [M], or of any other shape, which the result then begins with; those of a pair are broadcast. Items
        that follow each other in a file, and in the result, are read together.

        Raises:
            ValueError: an index is outside of the tensor.
            ArtifactError: a file is no longer there, or is shorter than it was.
        """
        import torch

        axes = tuple(axis.numpy() for axis in (index if isinstance(index, tuple) else (index,)))
        positions = np.ravel_multi_index(axes, self.shape[: len(axes)])
        numbers = positions.reshape(-1)
        first_numbers = self._first_rows * math.prod(self.shape[1 : len(axes)])
        part_of = np.searchsorted(first_numbers, numbers, side="right") - 1
        items = np.empty((len(numbers), *self.shape[len(axes) :]), self._parts[0].dtype)
        for part in np.unique(part_of):
            places = np.nonzero(part_of == part)[0]
            self._parts[part].read(items, places, numbers[places] - first_numbers[part])
        self._touch()
        return torch.from_numpy(items.reshape(*positions.shape, *items.shape[1:]))

    def _touch(self) -> None:
        """Count the folders as used: the cache of a bucket deletes those that were not used for ten minutes."""
        if time.monotonic() < self._touched + _TOUCH_SECONDS:
            return
        for folder in {part.file.parent for part in self._parts}:
            with suppress(OSError):  # a run directory that is mounted read-only
                os.utime(folder)
        self._touched = time.monotonic()


@dataclass(frozen=True, slots=True)
class _Part:
    """The rows in one file."""

    file: Path
    offset: int
    """Bytes before the tensor."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]

    def read(self, items: NDArray[Any], places: NDArray[np.int64], numbers: NDArray[np.int64]) -> None:
        """Read this file's items `numbers` [R] into rows `places` [R] of `items`."""
        size = items[0].nbytes
        is_next = (np.diff(numbers) == 1) & (np.diff(places) == 1)
        firsts = np.flatnonzero(np.append(True, ~is_next))
        counts = np.diff(firsts, append=len(places))
        try:
            with self.file.open("rb", buffering=0) as file:
                for place, number, count in zip(places[firsts], numbers[firsts], counts, strict=True):
                    buffer = items[place : place + count].data
                    if os.preadv(file.fileno(), [buffer], self.offset + int(number) * size) != count * size:
                        raise ArtifactError(f"{self.file} was truncated during training")
        except OSError as error:
            raise ArtifactError(f"{self.file} cannot be read any more ({error.strerror})") from error


def _part(file: Path, name: str) -> _Part:
    with contents_of(file), file.open("rb") as opened:
        # The format: 8 bytes with the header's length, the header as JSON, the tensors' bytes in C order.
        length = int.from_bytes(opened.read(8), "little")
        about = json.loads(opened.read(length))[name]
        begin, end = about["data_offsets"]
        shape, dtype = tuple(about["shape"]), np.dtype(_DTYPES[about["dtype"]])
        if end - begin != math.prod(shape) * dtype.itemsize:
            raise ValueError(f"{name} has {end - begin} bytes for shape {list(shape)} of {dtype}")
        return _Part(file, 8 + length + begin, shape, dtype)
