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
from safetensors import SafetensorError, safe_open
from safetensors.numpy import load_file, save_file

from reward_finetuning.records import Prompt, Rollouts, Sample, Trajectories
from reward_finetuning.storage.artifacts.stored_tensor import StoredTensor
from reward_finetuning.storage.artifacts.table_file import whole_table
from reward_finetuning.storage.documents import contents_of

SAMPLES = "samples.parquet"


def latents_file(micro_batch: int) -> str:
    """File of a micro-batch's latents [M, T+1, C, H, W]; log_probs, log_probs_ref and kl [M, T]; timesteps [T].

    And x_0 [M, C, H, W] if the last step of the sampler is not stochastic.
    """
    return f"trajectories-{micro_batch:05d}.safetensors"


def images_file(micro_batch: int) -> str:
    """File of a micro-batch's pictures, uint8 [M, H, W, 3]."""
    return f"images-{micro_batch:05d}.safetensors"


def write_micro_batch(
    folder: Path,
    micro_batch: int,
    trajectories: Trajectories,
    images: NDArray[np.uint8],
    timesteps: NDArray[np.float64],
) -> None:
    """Write one micro-batch's two files."""
    tensors = {
        "latents": trajectories.latents.numpy(),
        "log_probs": trajectories.log_probs.numpy(),
        "log_probs_ref": trajectories.log_probs_ref.numpy(),
        "kl": trajectories.kl.numpy(),
        "timesteps": timesteps,
    }
    if trajectories.x_0 is not None:
        tensors["x_0"] = trajectories.x_0.numpy()
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
    """The samples of an artifact, in order of their index.

    Raises:
        ArtifactError: the file holds something else.
    """
    with contents_of(folder / SAMPLES):
        rows = whole_table(folder / SAMPLES).select(_SCHEMA.names).cast(_SCHEMA).to_pylist()
    return tuple(
        Sample(row["sample"], Prompt(row["prompt_id"], row["prompt"], row["category"]), row["image_index"])
        for row in rows
    )


_SCHEMA = pa.schema(
    [
        pa.field("sample", pa.int64(), nullable=False),
        pa.field("prompt_id", pa.string(), nullable=False),
        pa.field("prompt", pa.string(), nullable=False),
        pa.field("category", pa.string(), nullable=False),
        pa.field("image_index", pa.int64(), nullable=False),
    ]
)


def micro_batches_of(samples: Sequence[Sample], micro_batch_size: int) -> list[int]:
    """Numbers of the micro-batches that hold these samples, ascending."""
    return sorted({sample.index // micro_batch_size for sample in samples})


def read_images(folder: Path, micro_batches: Sequence[int]) -> Iterator[NDArray[np.uint8]]:
    """Pictures of one micro-batch after the other, [M, H, W, 3]."""
    for micro_batch in micro_batches:
        yield load_file(folder / images_file(micro_batch))["images"]


def read_rollouts(files: Sequence[Path], samples: Sequence[Sample]) -> Rollouts:
    """The rollouts of these files (`latents_file`) and their samples. Latents stay in the files.

    Raises:
        ArtifactError: a file holds something else.
    """
    import torch

    parts = []
    for file in files:
        with contents_of(file, SafetensorError), safe_open(file, "pt") as opened:
            parts.append({name: opened.get_tensor(name).clone() for name in ("log_probs", "log_probs_ref", "kl")})
            names = set(opened.keys())
    return Rollouts(
        latents=StoredTensor(files, "latents"),
        **{name: torch.cat([part[name] for part in parts]) for name in parts[0]},
        samples=tuple(samples),
        x_0=StoredTensor(files, "x_0") if "x_0" in names else None,
    )
