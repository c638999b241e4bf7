"""Scores of images by scorers on other machines, while the next images are drawn.

The scores are in the shard's cache when `score_rollouts` begins, which asks only for those that are not there.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from queue import Empty, Queue
from threading import Thread
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from reward_finetuning.config.run import RunConfig
from reward_finetuning.events import report_warning
from reward_finetuning.records import Sample
from reward_finetuning.rewards.cached import cached_scorers
from reward_finetuning.rewards.groups import Pictures
from reward_finetuning.rewards.protocol import Scorer, Scorers
from reward_finetuning.rewards.scorer import usage
from reward_finetuning.rewards.weighted import score
from reward_finetuning.steps.plan import Shard
from reward_finetuning.storage import RunDirectory, artifact_names
from reward_finetuning.storage.artifacts.scores import ScoreCache

MOST_WAITING = 2
"""Micro-batches of pictures that wait in memory. Pictures that find no place are scored after the drawing."""


def early_names(config: RunConfig) -> frozenset[str]:
    """Names of the scorers that score while images are drawn: those behind a `url`.

    Others would compete with the policy for this machine. A groupwise scorer needs all images of a prompt, so
    micro-batches must hold whole prompts.
    """
    reward, sampling = config.reward, config.sampling
    served = {name for name in reward.weights if name in reward.scorers and reward.scorers[name].url is not None}
    has_whole_prompts = sampling.micro_batch_size % sampling.images_per_prompt == 0
    return frozenset(served if has_whole_prompts else served - set(reward.groupwise))


class EarlyScores:
    """A context around the drawing of one shard; its thread starts when that begins."""

    def __init__(self, run: RunDirectory, scorers: Scorers) -> None:
        """Take `scorers`, which gives at least those of `early_names`; it is called if something is drawn."""
        self._run, self._load = run, scorers
        self._waiting: Queue[Pictures | None] = Queue(MOST_WAITING)
        self._thread: Thread | None = None
        self.usage_before: dict[str, float] = {}
        """What the early scorers had used before their first picture, as `usage` gives it."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: TracebackType | None) -> None:
        """Wait for the micro-batch that is being scored, and keep its scores; forget those that wait."""
        if self._thread is None:
            return
        with suppress(Empty):
            while True:
                self._waiting.get_nowait()
        self._waiting.put(None)
        self._thread.join()

    def begin(self, part: Shard) -> None:
        """Start the thread, if a scorer is to work while the images of `part` are drawn."""
        if early_names(self._run.config):
            self._thread = Thread(target=self._work, args=[part], name="early scores", daemon=True)
            self._thread.start()

    def add(self, images: NDArray[np.uint8], samples: Sequence[Sample]) -> None:
        """Take a micro-batch of pictures [M, H, W, 3] with their samples [M]; it returns at once."""
        if self._thread is not None and not self._waiting.full():
            self._waiting.put_nowait((images, samples))

    def _work(self, part: Shard) -> None:
        reward, rollouts = self._run.config.reward, artifact_names.rollouts(part.epoch, part.first, part.last)
        try:
            scorers = self._scorers()
            self.usage_before = usage(scorers)
            weights = {name: reward.weights[name] for name in scorers}
            with ScoreCache(self._run, part.epoch, artifact_names.scores(rollouts)) as cache:
                cached = cached_scorers(scorers, reward, self._run.fingerprinted(), cache)
                score(cached, weights, self._batches(reward.batch_size), reward.groupwise & set(scorers))
        except Exception as error:  # noqa: BLE001  # the images are drawn all the same, and their scoring meets it again
            report_warning(f"no more images are scored while others are drawn: {error}")

    def _scorers(self) -> dict[str, Scorer]:
        """Those that work early. The scores of one without a digest are not cached, so they would be lost."""
        fingerprint = self._run.fingerprinted()
        names = {name for name in early_names(self._run.config) if fingerprint.get(f"reward.{name}.digest")}
        return {name: scorer for name, scorer in self._load().items() if name in names} if names else {}

    def _batches(self, batch_size: int) -> Iterator[Pictures]:
        while (pictures := self._waiting.get()) is not None:
            images, samples = pictures
            for first in range(0, len(samples), batch_size):
                yield images[first : first + batch_size], samples[first : first + batch_size]
