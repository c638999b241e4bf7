"""Requests and answers of the chat completions protocol, with pictures as data URLs.

Source: platform.openai.com/docs/api-reference/chat/create; vLLM, SGLang, Ollama and llama.cpp serve the same.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from reward_finetuning.config.parsing import parse_json
from reward_finetuning.config.sections.chat import ChatConfig

COMPLETIONS = "/chat/completions"

_RATING = (
    "The image was generated for this prompt:\n{prompt}\n\nHow well does the image match the prompt? Consider every "
    'object, attribute, number and position that the prompt names. Answer with a JSON object only: {"score": NUMBER}, '
    "where NUMBER is from {lowest} (nothing matches) to {highest} (everything matches)."
)
_COMPARISON = (
    "Two images were generated for this prompt:\n{prompt}\n\nWhich image matches the prompt better? Consider every "
    'object, attribute, number and position that the prompt names. Answer with a JSON object only: {"score": NUMBER}, '
    "where NUMBER is {lowest} if the first image is clearly better, {highest} if the second one is clearly better, and "
    "between if the difference is smaller."
)
_PLACES = re.compile(r"\{(prompt|lowest|highest)\}")
_LONGEST_ANSWER = 20_000


@dataclass(frozen=True, slots=True)
class Completion:
    """An answer of the judge."""

    text: str
    input_tokens: int
    output_tokens: int


def question(chat: ChatConfig, *, groupwise: bool) -> str:
    """The question with its places."""
    return chat.question or (_COMPARISON if groupwise else _RATING)


def encode_request(chat: ChatConfig, template: str, prompt: str, pngs: Sequence[str]) -> bytes:
    """Body of a request.

    Args:
        chat: the judge.
        template: the question, see `question`; its places are replaced once, so that a prompt can contain braces.
        prompt: of the pictures.
        pngs: pictures in base64, in the order in which the judge sees them.
    """
    values = {"prompt": prompt, "lowest": f"{chat.lowest:g}", "highest": f"{chat.highest:g}"}
    text = _PLACES.sub(lambda place: values[place[1]], template)
    pictures = [
        {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{png}", "detail": chat.detail}}
        for png in pngs
    ]
    body: dict[str, Any] = {
        "model": chat.model,
        "messages": [{"role": "user", "content": [{"type": "text", "text": text}, *pictures]}],
        chat.tokens_field: chat.max_tokens,
    }
    if chat.temperature is not None:
        body["temperature"] = chat.temperature
    return json.dumps(body).encode()


def decode_completion(body: bytes) -> Completion:
    """The text and the tokens of an answer.

    Raises:
        ValueError: it is no chat completion.
    """
    tree = parse_json(body)
    try:
        text = tree["choices"][0]["message"]["content"]
        usage = tree.get("usage") or {}
    except (AttributeError, IndexError, KeyError, TypeError):
        raise ValueError("it is no chat completion: choices[0].message.content is missing") from None
    if text is not None and not isinstance(text, str):
        raise ValueError("choices[0].message.content is no text")
    return Completion(text or "", _tokens(usage, "prompt_tokens"), _tokens(usage, "completion_tokens"))


def parse_score(chat: ChatConfig, text: str) -> float:
    """The score in the judge's answer.

    Raises:
        ValueError: there is none, or it is outside of the range.
    """
    value = _number(chat, text[:_LONGEST_ANSWER])
    if not chat.lowest <= value <= chat.highest:  # also false for NaN
        raise ValueError(f"{value:g} is not from {chat.lowest:g} to {chat.highest:g}")
    return value


def _number(chat: ChatConfig, text: str) -> float:
    if chat.score_pattern is not None:
        match = re.search(chat.score_pattern, text)
        if match is None or match[1] is None:
            raise ValueError("score_pattern matches nothing")
        return float(match[1])
    start, end = text.find("{"), text.rfind("}")  # some judges put a code fence around it
    record = parse_json(text[start : end + 1]) if start >= 0 else None
    value = record.get("score") if isinstance(record, dict) else None
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    raise ValueError('it has no JSON object with a number "score"')


def _tokens(usage: object, key: str) -> int:
    value = usage.get(key) if isinstance(usage, dict) else None
    return value if isinstance(value, int) and value >= 0 else 0
