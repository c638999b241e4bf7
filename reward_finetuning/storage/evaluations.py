"""Files of a report artifact that hold one policy's evaluated samples."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

from reward_finetuning.records import EvaluatedSamples

SAMPLES = "samples.parquet"
IMAGES = "images.safetensors"
REWARD = "reward:"
"""What a column of rewards begins with."""


def write_evaluation(folder: Path, samples: EvaluatedSamples) -> None:
    """Write the table and the pictures."""
    columns = {
        "prompt_set": samples.prompt_sets,
        "prompt_id": samples.prompt_ids,
        "prompt": samples.prompts,
        "category": samples.categories,
        "image_index": samples.image_indices,
    }
    rewards = {f"{REWARD}{name}": values for name, values in samples.rewards.items()}
    about = {"epoch": str(samples.epoch), "policy": samples.policy}
    table = pa.table({name: list(values) for name, values in columns.items()} | rewards)
    pq.write_table(table.replace_schema_metadata(about), folder / SAMPLES)
    save_file({"images": np.ascontiguousarray(samples.images)}, folder / IMAGES)


def read_evaluation(folder: Path, *, images: bool = True) -> EvaluatedSamples:
    """What `write_evaluation` wrote; without `images`, an empty stack of them in the same size."""
    table = pq.read_table(folder / SAMPLES)
    about = table.schema.metadata
    names = [name for name in table.column_names if name.startswith(REWARD)]

    def column(name: str) -> tuple[str, ...]:
        return tuple(table[name].to_pylist())

    return EvaluatedSamples(
        epoch=int(about[b"epoch"]),
        policy=about[b"policy"].decode(),
        prompt_sets=column("prompt_set"),
        prompt_ids=column("prompt_id"),
        prompts=column("prompt"),
        categories=column("category"),
        image_indices=tuple(table["image_index"].to_pylist()),
        rewards={name.removeprefix(REWARD): np.asarray(table[name]) for name in names},
        images=load_file(folder / IMAGES)["images"] if images else np.empty((0, *_image_shape(folder)), np.uint8),
    )


def _image_shape(folder: Path) -> tuple[int, ...]:
    with safe_open(folder / IMAGES, "numpy") as file:
        return tuple(file.get_slice("images").get_shape()[1:])


def read_table(folder: Path) -> list[dict[str, Any]]:
    """The rows of `SAMPLES`, without the pictures."""
    rows: list[dict[str, Any]] = pq.read_table(folder / SAMPLES).to_pylist()
    return rows
