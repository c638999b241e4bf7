"""The judge as a scorer: each image alone, or the images of a prompt in pairs."""

from __future__ import annotations

import json
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import combinations
from typing import TYPE_CHECKING

from reward_finetuning.config.errors import TrainingError, UserError
from reward_finetuning.config.sections.chat import ChatConfig
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards.function import differing
from reward_finetuning.rewards.judge.messages import (
    COMPLETIONS,
    Completion,
    decode_completion,
    encode_request,
    parse_score,
    question,
)
from reward_finetuning.rewards.judge.usage import Usage
from reward_finetuning.rewards.remote import http
from reward_finetuning.server_errors import one_line

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from reward_finetuning.rewards.protocol import Scorer

TRIES = 3
"""Answers without a score after which a judge is given up."""

_HINTS = {
    401: "; token_env names the environment variable that holds the key of the endpoint",
    404: "; the url is the part before /chat/completions, e.g. https://api.openai.com/v1; chat.model must exist there",
}


def check(settings: ScorerConfig) -> None:
    """Refuse an address that cannot be one, and settings that a judge does not have; nothing is sent.

    Raises:
        UserError: saying what was given and what would be right.
    """
    http.check_address(settings)
    own = {name: getattr(settings, name) for name in (*http.OF_THE_CLIENT, "chat")}
    if given := differing(settings, ScorerConfig.model_validate(own)):
        raise UserError(f"the judge at {settings.url} has no {', '.join(given)}")


def digest(settings: ScorerConfig) -> str:
    """sha256 of all that is sent with an image, besides image and prompt, and of how the answer is read."""
    chat = _chat(settings)
    bounds = {"concurrency", "max_requests", "input_price", "output_price", "question"}
    parts = [chat.model_dump(exclude=bounds), question(chat, groupwise=settings.groupwise), settings.groupwise]
    return sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def load(settings: ScorerConfig) -> Scorer:
    """A scorer that asks the judge.

    Raises:
        UserError: the environment variable with the key is not set.
    """
    http.token(settings)
    return Judge(settings, _chat(settings))


@dataclass(frozen=True)
class Judge:
    """Asks for a rating of each image, or with `groupwise` for a comparison of each pair of images of a prompt."""

    settings: ScorerConfig
    chat: ChatConfig
    counted: Usage = field(init=False)

    def __post_init__(self) -> None:
        """Begin to count."""
        object.__setattr__(self, "counted", Usage(self.chat))

    def __call__(self, images: NDArray[np.uint8], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Scores [B] in the range of the judge; with `groupwise` from 0 to 1, see `_compared`."""
        import numpy as np

        from reward_finetuning.rewards.remote.wire import png

        pngs = [png(image) for image in images]
        if self.settings.groupwise:
            return self._compared(pngs, prompts)
        questions = [(prompt, [one]) for prompt, one in zip(prompts, pngs, strict=True)]
        return np.asarray(self._scores(questions), dtype=np.float64)

    def usage(self) -> dict[str, float]:
        """See ReportsUsage."""
        return self.counted.counts()

    def _compared(self, pngs: Sequence[str], prompts: Sequence[str]) -> NDArray[np.float64]:
        """Mean share [K] of an image in its comparisons: 1 if it always wins, 0.5 for ties and for a single image."""
        import numpy as np

        pairs = list(combinations(range(len(pngs)), 2))
        if self.chat.both_orders:
            pairs += [(second, first) for first, second in pairs]
        answers = self._scores([(prompts[0], [pngs[first], pngs[second]]) for first, second in pairs])
        shares: list[list[float]] = [[] for _ in pngs]
        for (first, second), answer in zip(pairs, answers, strict=True):
            share = (answer - self.chat.lowest) / (self.chat.highest - self.chat.lowest)
            shares[first].append(1 - share)
            shares[second].append(share)
        return np.array([np.mean(each) if each else 0.5 for each in shares], dtype=np.float64)

    def _scores(self, questions: Sequence[tuple[str, Sequence[str]]]) -> list[float]:
        """Answers to all questions, in order; the first failure is raised, and what has not been sent is not sent."""
        with ThreadPoolExecutor(self.chat.concurrency) as threads:
            futures = [threads.submit(self._score, prompt, pngs) for prompt, pngs in questions]
            try:
                return [future.result() for future in futures]
            except BaseException:
                threads.shutdown(wait=False, cancel_futures=True)
                raise

    def _score(self, prompt: str, pngs: Sequence[str]) -> float:
        template = question(self.chat, groupwise=self.settings.groupwise)
        body = encode_request(self.chat, template, prompt, pngs)
        for _ in range(TRIES):
            self.counted.begin()
            completion = http.ask(self.settings, "POST", COMPLETIONS, body, _read, _HINTS)
            self.counted.end(completion)
            try:
                return parse_score(self.chat, completion.text)
            except ValueError as error:
                reason = one_line(error)
        raise TrainingError(
            f"the judge {self.chat.model} gave no score in {TRIES} answers, the last one for prompt {prompt[:80]!r}: "
            f"{reason}; it answered {one_line(completion.text, 200)!r}"
        )


def _read(body: bytes) -> Completion:
    try:
        return decode_completion(body)
    except ValueError as error:  # the page of a gateway, or half an answer
        raise http.TemporaryError(one_line(error)) from None


def _chat(settings: ScorerConfig) -> ChatConfig:
    assert settings.chat is not None, "the registry asks this module for judges alone"
    return settings.chat
