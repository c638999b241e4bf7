"""Files of a rollouts artifact: latents and log-probs a micro-batch, pictures in files of their own, one sample table.

The pictures are apart so that the reward step reads them alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from reward_finetuning.records import Prompt, Sample, Trajectories

SAMPLES = "samples.parquet"


def latents_file(micro_batch: int) -> str:
    """File of a micro-batch's latents [M, T+1, C, H, W], log_probs and log_probs_ref [M, T], timesteps [T]."""
    return f"trajectories-{micro_batch:05d}.safetensors"


def images_file(micro_batch: int) -> str:
    """File of a micro-batch's pictures, uint8 [M, H, W, 3]."""
    return f"images-{micro_batch:05d}.safetensors"


def write_micro_batch(
    folder: Path,
    micro_batch: int,
    trajectories: Trajectories,
    images: NDArray[np.uint8],
    timesteps: NDArray[np.int64],
) -> None:
    """Write one micro-batch's two files."""
    tensors = {
        "latents": trajectories.latents.numpy(),
        "log_probs": trajectories.log_probs.numpy(),
        "log_probs_ref": trajectories.log_probs_ref.numpy(),
        "timesteps": timesteps,
    }
    save_file({name: np.ascontiguousarray(t) for name, t in tensors.items()}, folder / latents_file(micro_batch))
    save_file({"images": np.ascontiguousarray(images)}, folder / images_file(micro_batch))


def write_samples(folder: Path, samples: Sequence[Sample], micro_batch_size: int) -> None:
    """Write the table that says which image lies where."""
    columns = {
        "sample": [s.index for s in samples],
        "prompt_id": [s.prompt.id for s in samples],
        "prompt": [s.prompt.text for s in samples],
        "category": [s.prompt.category for s in samples],
        "image_index": [s.image_index for s in samples],
        "micro_batch": [s.index // micro_batch_size for s in samples],
        "row": [s.index % micro_batch_size for s in samples],
    }
    pq.write_table(pa.table(columns), folder / SAMPLES)


def read_samples(folder: Path) -> tuple[Sample, ...]:
    """The samples of an artifact, in order of their index."""
    rows = pq.read_table(folder / SAMPLES).to_pylist()
    return tuple(
        Sample(row["sample"], Prompt(row["prompt_id"], row["prompt"], row["category"]), row["image_index"])
        for row in rows
    )


def micro_batches_of(samples: Sequence[Sample], micro_batch_size: int) -> list[int]:
    """Numbers of the micro-batches that hold these samples, ascending."""
    return sorted({sample.index // micro_batch_size for sample in samples})


def read_images(folder: Path, micro_batches: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Pictures of one micro-batch after the other, [M, H, W, 3]."""
    for micro_batch in micro_batches:
        yield load_file(folder / images_file(micro_batch))["images"]


def read_trajectories(folder: Path, micro_batches: Sequence[int]) -> Trajectories:
    """Trajectories of all these micro-batches, concatenated."""
    import torch

    parts = [load_file(folder / latents_file(micro_batch)) for micro_batch in micro_batches]

    def joined(name: str) -> torch.Tensor:
        return torch.from_numpy(np.concatenate([part[name] for part in parts]))

    return Trajectories(joined("latents"), joined("log_probs"), joined("log_probs_ref"))
