"""Tokenizers from their vocabulary files, with a check of the vocabulary size.

If the files are missing or empty, transformers creates a tokenizer that has only special tokens, without an error. All
prompts would then have the same features.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from reward_finetuning.config.errors import UserError

CLIP_TOKENS = 49_408
BERT_TOKENS = 30_522


def clip_tokenizer(files: Mapping[str, Path]) -> Any:
    """CLIP's byte-pair tokenizer, from roles `vocabulary` (vocab.json) and `merges` (merges.txt).

    Raises:
        UserError: a file is damaged, or has another number of tokens than CLIP's 49408.
    """
    from transformers import CLIPTokenizer

    path = files["vocabulary"]
    try:
        vocabulary = json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise UserError(f"{path} is not a JSON vocabulary ({error}): download it again") from error
    _check_length(path, len(vocabulary), CLIP_TOKENS)
    lines = files["merges"].read_text(encoding="utf-8").splitlines()
    merges = [tuple(line.split()) for line in lines if line and not line.startswith("#version")]
    unknown = next((pair for pair in merges if len(pair) != 2 or "".join(pair) not in vocabulary), None)
    if unknown or not merges:
        raise UserError(f"{files['merges']} does not belong to {path}: {unknown or 'it is empty'}; download both again")
    return CLIPTokenizer(vocab=vocabulary, merges=merges, model_max_length=77)


def bert_tokenizer(files: Mapping[str, Path]) -> Any:
    """BERT's tokenizer with BLIP's two special tokens, 30524 in all, from the role `vocabulary` (vocab.txt).

    Raises:
        UserError: the file is damaged, or has another number of tokens than bert-base-uncased's 30522.
    """
    from transformers import BertTokenizer

    path = files["vocabulary"]
    vocabulary = {token: number for number, token in enumerate(path.read_text(encoding="utf-8").splitlines())}
    _check_length(path, len(vocabulary), BERT_TOKENS)
    if missing := [token for token in ("[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]") if token not in vocabulary]:
        raise UserError(f"{path} is not bert-base-uncased's vocabulary: it lacks {', '.join(missing)}")
    tokenizer = BertTokenizer(vocab=vocabulary)
    tokenizer.add_special_tokens({"bos_token": "[DEC]", "additional_special_tokens": ["[ENC]"]})
    return tokenizer


def _check_length(path: Path, length: int, expected: int) -> None:
    if length != expected:
        raise UserError(
            f"{path} has {length} tokens, the vocabulary of this scorer has {expected}: another or a truncated file"
        )
