"""What a judge has cost: requests and tokens, counted by several threads."""

from __future__ import annotations

import threading

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.chat import ChatConfig
from reward_finetuning.rewards.judge.messages import Completion


class Usage:
    """Counts of one loaded judge, with the bound on its requests."""

    def __init__(self, chat: ChatConfig) -> None:
        self._chat = chat
        self._lock = threading.Lock()
        self._requests = self._input_tokens = self._output_tokens = 0

    def begin(self) -> None:
        """Count a request that is about to be sent.

        Raises:
            UserError: it would be one more than `max_requests`.
        """
        with self._lock:
            if self._chat.max_requests is not None and self._requests >= self._chat.max_requests:
                raise UserError(
                    f"the judge {self._chat.model} was asked {self._requests} times by this task, which is "
                    "max_requests: raise it, or score fewer images"
                )
            self._requests += 1

    def end(self, completion: Completion) -> None:
        """Count the tokens of an answer."""
        with self._lock:
            self._input_tokens += completion.input_tokens
            self._output_tokens += completion.output_tokens

    def counts(self) -> dict[str, float]:
        """Requests, input and output tokens so far, and the cost if a price is given."""
        chat = self._chat
        with self._lock:
            counts: dict[str, float] = {
                "requests": self._requests,
                "input_tokens": self._input_tokens,
                "output_tokens": self._output_tokens,
            }
        if chat.input_price is not None or chat.output_price is not None:
            prices = (chat.input_price or 0.0, chat.output_price or 0.0)
            counts["cost"] = (counts["input_tokens"] * prices[0] + counts["output_tokens"] * prices[1]) / 1e6
        return counts
