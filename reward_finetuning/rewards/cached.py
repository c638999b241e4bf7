"""Scorers that remember: an image is scored once for a prompt by the same weights."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.rewards.checked import one_score_each
from reward_finetuning.rewards.protocol import Scorer
from reward_finetuning.storage.artifacts.scores import ScoreCache
from reward_finetuning.tracking import code_version


def cached_scorers(
    scorers: Mapping[str, Scorer], config: RewardConfig, fingerprint: Mapping[str, Any], cache: ScoreCache
) -> dict[str, Scorer]:
    """The same scorers, asked only for what `cache` has not.

    One without a digest is always asked: nobody could tell whether it is still the same.

    Args:
        scorers: by name.
        config: their settings.
        fingerprint: the run's, which has the digests that it began with.
        cache: what is known.
    """
    version = code_version()

    def remembering(name: str, scorer: Scorer) -> Scorer:
        digest = fingerprint.get(f"reward.{name}.digest", "")
        if not digest:
            return scorer
        settings = config.scorers.get(name, ScorerConfig())
        identity = json.dumps([name, digest, settings.dtype, settings.use, version])
        return _CachedScorer(name, scorer, identity, settings.groupwise, cache)

    return {name: remembering(name, scorer) for name, scorer in scorers.items()}


@dataclass(frozen=True, slots=True)
class _CachedScorer:
    name: str
    scorer: Scorer
    identity: str
    """All that its scores depend on, besides picture and prompt."""

    groupwise: bool
    """A score depends on all pictures of its call; if one is missing, all are computed."""

    cache: ScoreCache

    def __call__(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        keys = [self._key(image, prompt) for image, prompt in zip(images, prompts, strict=True)]
        if self.groupwise:
            group = b"".join(keys)
            keys = [sha256(group + row.to_bytes(8)).digest() for row in range(len(keys))]
        cached = [self.cache.get(key) for key in keys]
        scores = np.array([np.nan if score is None else score for score in cached], dtype=np.float64)
        missing = [row for row, score in enumerate(cached) if score is None]
        if missing and self.groupwise:
            missing = list(range(len(keys)))
        if missing:
            fresh = self.scorer(images[missing], [prompts[row] for row in missing])
            scores[missing] = one_score_each(self.name, fresh, len(missing))
            # A NaN is returned, so that the caller can name its sample. It is not cached: its cause may be temporary.
            self.cache.add((keys[row], float(scores[row])) for row in missing if np.isfinite(scores[row]))
        return scores

    def _key(self, image: NDArray[np.uint8], prompt: str) -> bytes:
        picture = sha256(np.ascontiguousarray(image).data).hexdigest()
        return sha256(json.dumps([picture, image.shape, prompt, self.identity]).encode()).digest()
