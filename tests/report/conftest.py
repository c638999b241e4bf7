from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest

from reward_finetuning.records import EvaluatedSamples

MakeSamples = Callable[..., EvaluatedSamples]


@pytest.fixture
def make_samples() -> MakeSamples:
    return samples


@pytest.fixture
def permute() -> Callable[[EvaluatedSamples, Sequence[int]], EvaluatedSamples]:
    return permuted


def permuted(samples: EvaluatedSamples, order: Sequence[int]) -> EvaluatedSamples:
    """The same images in another order."""
    fields = ("prompt_sets", "prompt_ids", "prompts", "categories", "image_indices")
    return replace(
        samples,
        **{name: tuple(getattr(samples, name)[i] for i in order) for name in fields},
        rewards={name: values[order] for name, values in samples.rewards.items()},
        images=samples.images[order],
        measures={name: values[order] for name, values in samples.measures.items()},
    )


def samples(
    rewards: Sequence[float],
    *,
    epoch: int = 0,
    policy: str | None = None,
    images_per_prompt: int = 1,
    prompt_set: str = "train",
    prompts: Sequence[str] | None = None,
    categories: Sequence[str] | None = None,
    scorers: dict[str, Sequence[float]] | None = None,
    images: np.ndarray | None = None,
    measures: dict[str, Sequence[float]] | None = None,
    kl: np.ndarray | None = None,
) -> EvaluatedSamples:
    """Images of one prompt set: image i is image i % K of prompt i // K."""
    size, K = len(rewards), images_per_prompt
    ids = tuple(f"p{i // K:04}" for i in range(size))
    columns = {"reward": rewards, **(scorers or {})}
    images = images if images is not None else np.full((size, 4, 4, 3), 128, dtype=np.uint8)
    return EvaluatedSamples(
        epoch=epoch,
        policy=policy or ("pretrained" if epoch == 0 else f"{epoch:064x}"),
        prompt_sets=(prompt_set,) * size,
        prompt_ids=ids,
        prompts=tuple(prompts) if prompts is not None else tuple(f"a picture of {prompt_id}" for prompt_id in ids),
        categories=tuple(categories) if categories is not None else ("",) * size,
        image_indices=tuple(i % K for i in range(size)),
        rewards={name: np.asarray(values, dtype=np.float64) for name, values in columns.items()},
        image_size=images.shape[1:3],
        images=images,
        measures={name: np.asarray(values, dtype=np.float64) for name, values in (measures or {}).items()},
        kl=kl,
    )
