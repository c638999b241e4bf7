"""Groups of pictures: all images of one prompt, put together from the batches in which they are streamed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.records import Sample

Pictures = tuple[NDArray[np.uint8], Sequence[Sample]]
"""Pictures [M, H, W, 3] and their samples [M]."""


def with_groups(batches: Iterable[Pictures]) -> Iterator[tuple[Pictures, list[Pictures]]]:
    """Each batch with the groups that are complete when it has arrived; at most one group is kept in memory.

    A group ends where the image number is 0 again. The last group is complete at the end of the stream, and comes with
    an empty batch.

    Args:
        batches: the images of a prompt follow one another, beginning with image 0; groups may cross batches.
    """
    images: list[NDArray[np.uint8]] = []
    samples: list[Sample] = []
    for batch in batches:
        groups: list[Pictures] = []
        for image, sample in zip(*batch, strict=True):
            if sample.image_index == 0 and samples:
                groups.append((np.stack(images), samples))
                images, samples = [], []
            assert sample.image_index == len(samples), (
                "a shard holds whole prompts, see RunConfig.micro_batches_per_unit"
            )
            images.append(image)
            samples.append(sample)
        yield batch, groups
    if samples:
        empty = images[0][None][:0]
        yield (empty, []), [(np.stack(images), samples)]
