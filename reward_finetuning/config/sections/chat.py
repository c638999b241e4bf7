"""How a judge behind a chat endpoint is asked."""

import re
from typing import Annotated, Literal, Self

from pydantic import Field, NonNegativeFloat, PositiveInt, field_validator, model_validator

from reward_finetuning.config.base import Frozen


class ChatConfig(Frozen):
    """A judge at `url`, which answers POST /chat/completions with an image in the message."""

    model: Annotated[str, Field(min_length=1, max_length=200)]
    """Name of the model at the endpoint. It is part of the digest, so name a fixed version where there is one."""

    question: Annotated[str, Field(min_length=1, max_length=16_384)] | None = None
    """What the judge is asked. `{prompt}`, `{lowest}` and `{highest}` are replaced. The default asks for a JSON object
    with the number `score`: how well the image matches the prompt; with `groupwise`, which of two images is better."""

    score_pattern: str | None = None
    """Regular expression whose only group is the number in the answer. Null: the number `score` of a JSON object."""

    lowest: float = 0.0
    """Smallest score; the question is repeated if an answer is outside. With `groupwise`: the first image is better."""

    highest: float = 10.0
    """Largest score. With `groupwise`: the second image is better."""

    both_orders: bool = True
    """With `groupwise`: each pair of images is asked twice, with either one first, because judges prefer a position."""

    max_tokens: PositiveInt = 300
    """Longest answer, in tokens."""

    tokens_field: Literal["max_completion_tokens", "max_tokens"] = "max_completion_tokens"
    """Key of `max_tokens` in the request; older servers have `max_tokens`."""

    temperature: NonNegativeFloat | None = 0.0
    """Of the judge. Null: not sent, for models that refuse it."""

    detail: Literal["auto", "low", "high"] = "auto"
    """Resolution at which the judge sees the image; it changes the number of tokens."""

    concurrency: Annotated[int, Field(ge=1, le=64)] = 8
    """Requests at the same time."""

    max_requests: PositiveInt | None = None
    """Most requests of one task; one more ends it with exit code 2. A retry of a failed request is not counted."""

    input_price: NonNegativeFloat | None = None
    """Price of a million input tokens, for the metric `reward/NAME/cost`."""

    output_price: NonNegativeFloat | None = None
    """Price of a million output tokens."""

    @field_validator("score_pattern")
    @classmethod
    def _has_one_group(cls, pattern: str | None) -> str | None:
        if pattern is None:
            return None
        try:
            groups = re.compile(pattern).groups
        except re.error as error:
            raise ValueError(f"score_pattern is no regular expression: {error}") from None
        if groups != 1:
            raise ValueError(
                rf"score_pattern has one group, which is the number, e.g. 'Score: ([\d.]+)'; it has {groups}"
            )
        return pattern

    @field_validator("question")
    @classmethod
    def _has_a_prompt(cls, question: str | None) -> str | None:
        if question is not None and "{prompt}" not in question:
            raise ValueError("question must contain {prompt}, which is replaced by the prompt of the image")
        return question

    @model_validator(mode="after")
    def _range_is_not_empty(self) -> Self:
        if self.lowest >= self.highest:
            raise ValueError(f"lowest must be less than highest, got {self.lowest:g} and {self.highest:g}")
        return self
