"""Files of evaluations: parts with pictures and scores as they are drawn, and the table that joins them.

A part is a separate artifact, so that a retry draws only what is missing; a report names its parts, and reads their
pictures when a page asks for them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from reward_finetuning.config.errors import ArtifactError
from reward_finetuning.records import EvaluatedSamples
from reward_finetuning.storage.artifacts.rollouts import images_file
from reward_finetuning.storage.artifacts.table_file import whole_table
from reward_finetuning.storage.documents import contents_of
from reward_finetuning.storage.store import Store

SAMPLES = "samples.parquet"
KL = "kl.safetensors"
REWARD, MEASURE = "reward:", "measure:"
"""What a column of rewards, and of other measures, begins with."""

PART = "part.safetensors"


@dataclass(frozen=True, slots=True)
class Part:
    """Micro-batches [first, last) of an evaluation, in an artifact of the same store."""

    name: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class PartScores:
    """What is known of a part's M images besides their pictures."""

    scores: dict[str, NDArray[np.float64]]
    """By scorer, and the combined reward; each [M]."""

    features: dict[str, NDArray[np.float32]]
    """Space -> [M, D]: where distances between pictures are measured."""

    kl: NDArray[np.float32] | None
    """[M, T]."""

    image_size: tuple[int, int]


def write_pictures(folder: Path, micro_batch: int, images: NDArray[np.uint8]) -> None:
    """Write the pictures [M, H, W, 3] of one micro-batch."""
    save_file({"images": np.ascontiguousarray(images)}, folder / images_file(micro_batch))


def write_part(folder: Path, part: PartScores) -> None:
    """Write all of a part but its pictures."""
    tensors: dict[str, NDArray[Any]] = {f"{REWARD}{name}": values for name, values in part.scores.items()}
    tensors |= {f"features:{name}": values for name, values in part.features.items()}
    tensors["image_size"] = np.array(part.image_size, dtype=np.int64)
    if part.kl is not None:
        tensors["kl"] = part.kl
    save_file({name: np.ascontiguousarray(values) for name, values in tensors.items()}, folder / PART)


def read_part(folder: Path) -> PartScores:
    """What `write_part` wrote.

    Raises:
        ArtifactError: the file holds something else.
    """
    with contents_of(folder / PART, SafetensorError):
        tensors = load_file(folder / PART)
        height, width = map(int, tensors.pop("image_size").tolist())
        kl = tensors.pop("kl", None)
        return PartScores(_prefixed(tensors, REWARD), _prefixed(tensors, "features:"), kl, (height, width))


def write_evaluation(folder: Path, samples: EvaluatedSamples, parts: Sequence[Part], micro_batch_size: int) -> None:
    """Write the table of a policy's samples; their pictures stay in the parts."""
    columns = {
        "prompt_set": samples.prompt_sets,
        "prompt_id": samples.prompt_ids,
        "prompt": samples.prompts,
        "category": samples.categories,
        "image_index": samples.image_indices,
    }
    values = {f"{REWARD}{name}": column for name, column in samples.rewards.items()}
    values |= {f"{MEASURE}{name}": column for name, column in samples.measures.items()}
    about = {
        "epoch": str(samples.epoch),
        "policy": samples.policy,
        "image_size": json.dumps(samples.image_size),
        "micro_batch_size": str(micro_batch_size),
        "parts": json.dumps([[part.name, part.first, part.last] for part in parts]),
    }
    table = pa.table({name: list(column) for name, column in columns.items()} | values)
    pq.write_table(table.replace_schema_metadata(about), folder / SAMPLES)
    if samples.kl is not None:
        save_file({"kl": np.ascontiguousarray(samples.kl)}, folder / KL)


def read_evaluation(store: Store, name: str) -> EvaluatedSamples:
    """What `write_evaluation` wrote into the artifact `name`; pictures are read when they are asked for.

    Raises:
        ArtifactError: there is no such artifact, or it was written by an earlier version.
    """
    manifest = store.manifest(name)
    files = [file for file in (SAMPLES, KL) if manifest is None or file in manifest.files]
    folder = store.fetch(name, files)
    with contents_of(folder, SafetensorError):
        return _evaluation(store, folder, has_kl=KL in files)


def _evaluation(store: Store, folder: Path, *, has_kl: bool) -> EvaluatedSamples:
    table = whole_table(folder / SAMPLES)
    about = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    if "parts" not in about:
        raise ArtifactError(f"{folder} was written by an earlier version; delete it, and evaluate again")
    columns = {name: _as_array(table[name]) for name in table.column_names if ":" in name}

    def column(name: str) -> tuple[Any, ...]:
        return tuple(table[name].to_pylist())

    height, width = json.loads(about["image_size"])
    parts = tuple(Part(*part) for part in json.loads(about["parts"]))
    return EvaluatedSamples(
        epoch=int(about["epoch"]),
        policy=about["policy"],
        prompt_sets=column("prompt_set"),
        prompt_ids=column("prompt_id"),
        prompts=column("prompt"),
        categories=column("category"),
        image_indices=column("image_index"),
        rewards=_prefixed(columns, REWARD),
        image_size=(height, width),
        images=StoredPictures(store, int(about["micro_batch_size"]), parts),
        measures=_prefixed(columns, MEASURE),
        kl=load_file(folder / KL)["kl"] if has_kl else None,
    )


@dataclass(frozen=True, slots=True)
class StoredPictures:
    """The pictures of an evaluation where they lie, one micro-batch's file checked and opened at a time."""

    store: Store
    micro_batch_size: int
    parts: tuple[Part, ...]
    _checked: dict[str, Path] = field(default_factory=dict)

    def __getitem__(self, row: int, /) -> NDArray[np.uint8]:
        """Picture [H, W, 3] of a row."""
        micro_batch, place = divmod(row, self.micro_batch_size)
        part = next((part for part in self.parts if part.first <= micro_batch < part.last), None)
        if part is None:
            raise IndexError(row)
        file = images_file(micro_batch)
        if file not in self._checked:
            self._checked[file] = self.store.fetch(part.name, [file]) / file
        with safe_open(self._checked[file], "numpy") as images:
            picture: NDArray[np.uint8] = images.get_slice("images")[place : place + 1][0]
        return picture


def read_table(folder: Path) -> list[dict[str, Any]]:
    """The rows of `SAMPLES`, without the pictures.

    Raises:
        ArtifactError: the file holds something else.
    """
    with contents_of(folder / SAMPLES):
        rows: list[dict[str, Any]] = whole_table(folder / SAMPLES).to_pylist()
        return rows


def _prefixed(columns: Mapping[str, NDArray[Any]], prefix: str) -> dict[str, NDArray[Any]]:
    return {name.removeprefix(prefix): values for name, values in columns.items() if name.startswith(prefix)}


def _as_array(column: pa.ChunkedArray) -> NDArray[np.generic]:
    """A column of numbers. `to_numpy` would import pandas, which takes longer than all else that `rft status` does."""
    return np.array(np.from_dlpack(column.combine_chunks()))
