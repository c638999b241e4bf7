"""Tokenizer and text encoder of the small built-in model."""

import json
import string
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch

from reward_finetuning.shapes.scene import WORDS

MAX_LENGTH = 16
"""Tokens of a prompt, including the start and end tokens. The longest prompt of the world has 9 tokens."""

WIDTH = 48
"""Width of token embeddings and of the output of the text encoder."""

_BEGIN, _END = "<|startoftext|>", "<|endoftext|>"
_WORD_END = "</w>"  # CLIP marks the last letter of a word


def write_tokenizer(folder: Path) -> Any:
    """Write vocab.json and merges.txt of CLIP with one token per word of the world, and load the tokenizer.

    Returns:
        The CLIPTokenizer.
    """
    from transformers import CLIPTokenizer

    letters = list(string.ascii_lowercase)
    merges = _merges(WORDS)
    tokens = [*letters, *(letter + _WORD_END for letter in letters), *("".join(pair) for pair in merges), _BEGIN, _END]
    folder.mkdir(parents=True, exist_ok=True)
    vocabulary = {token: index for index, token in enumerate(tokens)}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    rules = "".join(f"{first} {second}\n" for first, second in merges)
    (folder / "merges.txt").write_text(f"#version: 0.2\n{rules}", encoding="utf-8")
    return CLIPTokenizer(str(folder / "vocab.json"), str(folder / "merges.txt"), model_max_length=MAX_LENGTH)


def _merges(words: Iterable[str]) -> list[tuple[str, str]]:
    """Byte-pair merges, the most frequent pair first, until each word is one symbol."""
    symbols = [[*word[:-1], word[-1] + _WORD_END] for word in dict.fromkeys(words)]
    merges = []
    while pairs := Counter(pair for word in symbols for pair in pairwise(word)):
        best = max(sorted(pairs), key=pairs.__getitem__)
        merges.append(best)
        symbols = [_merge(word, best) for word in symbols]
    return merges


def _merge(word: Sequence[str], pair: tuple[str, str]) -> list[str]:
    merged: list[str] = []
    for symbol in word:
        if merged and (merged[-1], symbol) == pair:
            merged[-1] += symbol
        else:
            merged.append(symbol)
    return merged


def build_text_encoder(tokenizer: Any, *, width: int = WIDTH, projection: bool = False) -> Any:
    """An untrained CLIPTextModel with two narrow layers; with `projection` a CLIPTextModelWithProjection."""
    from transformers import CLIPTextConfig, CLIPTextModel, CLIPTextModelWithProjection

    network = CLIPTextModelWithProjection if projection else CLIPTextModel
    return network(
        CLIPTextConfig(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            projection_dim=width,
            num_hidden_layers=2,
            num_attention_heads=4,
            max_position_embeddings=MAX_LENGTH,
            bos_token_id=tokenizer.bos_token_id,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    )


def tokenize(tokenizer: Any, prompts: Sequence[str]) -> torch.Tensor:
    """[B, MAX_LENGTH] int64 tokens, padded as in StableDiffusionPipeline."""
    tokens = tokenizer(list(prompts), padding="max_length", max_length=MAX_LENGTH, truncation=True, return_tensors="pt")
    ids: torch.Tensor = tokens.input_ids
    return ids
