"""HPSv3 (arXiv:2508.03789): Qwen2-VL-7B trained on human choices between pictures, real photographs among them.

Scale: the mean of a normal distribution whose other number, the standard deviation, is not used. It is not bounded.
"""

from __future__ import annotations

import ast
import logging
import re
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from pathlib import Path

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.models.model import ModelScorer
from reward_finetuning.rewards.protocol import Scorer

MODEL = MODELS["hpsv3"]

_QUESTION_END = "<|Reward|>"
_PROMPT = "{text_prompt}"
_SPECIAL_TOKEN = re.compile(r"<\|\w+\|>")
_INSTRUCTION_SHA256 = "d2bd49bb6c77a870071f49e8dce38ce6bfc71dd2060de9a1f7a03711f3e67e45"
"""Of the instruction of hpsv3 1.0.0, up to the special token."""


@dataclass(frozen=True, slots=True)
class Hpsv3Scorer(ModelScorer):
    """A ScorerModule that also refuses prompts with special tokens."""

    model: str = MODEL.scorer
    module: str = __name__

    def check_prompt(self, prompt: str) -> None:
        """See ChecksPrompts.

        Raises:
            ValueError: the prompt contains what Qwen2-VL reads as a special token.
        """
        if token := _SPECIAL_TOKEN.search(prompt):
            raise ValueError(f"{prompt[:80]!r} contains {token[0]}, which Qwen2-VL may read as a special token")


def load(settings: ScorerConfig) -> Scorer:
    """HPSv3's mean, float64 [B]."""
    import torch
    from tokenizers import Tokenizer

    from reward_finetuning.rewards.networks import qwen2_vl
    from reward_finetuning.rewards.networks.checkpoints import fill, read_state
    from reward_finetuning.rewards.networks.devices import torch_device, torch_dtype

    files = sources.locate(MODEL, settings)
    instruction = read_instruction(files["instruction"])
    try:
        tokenizer = Tokenizer.from_file(str(files["vocabulary"]))
    except Exception as error:  # tokenizers has no exception class of its own
        raise UserError(f"{files['vocabulary']} is not a tokenizer.json ({error}): download it again") from error
    tokenizer.add_special_tokens([_QUESTION_END])
    state = qwen2_vl.reward_state(read_state(files["weights"]))
    config = qwen2_vl.qwen2_vl_config(files["config"], tokenizer.get_vocab_size())
    network = fill(lambda: qwen2_vl.Qwen2VLReward(config), state, files["weights"], torch_dtype(settings))
    network.head.to(torch.float32)
    return qwen2_vl.Qwen2VLScorer(network.to(torch_device(settings)), tokenizer, partial(model_input, instruction))


def read_instruction(path: Path) -> str:
    """The text that asks for a score, up to the special token, with a place for the prompt.

    Args:
        path: the module of the package hpsv3 that defines it. It is read, not run.

    Raises:
        UserError: the file does not define the two parts, or a part lacks its place for the prompt or its token.
    """
    try:
        tree = ast.parse(path.read_text(encoding="utf-8"))
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{path} is not a Python module ({error}); copy it from the package hpsv3 again") from error
    texts = {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    instruction = texts.get("INSTRUCTION", "") + texts.get("prompt_with_special_token", "")
    if instruction.count(_PROMPT) != 1 or instruction.count(_QUESTION_END) != 1:
        raise UserError(
            f"{path} must define INSTRUCTION with {_PROMPT} and prompt_with_special_token with {_QUESTION_END}, "
            "as hpsv3/dataset/data_collator_qwen.py of the package hpsv3 does"
        )
    instruction = instruction[: instruction.index(_QUESTION_END) + len(_QUESTION_END)]
    if sha256(instruction.encode()).hexdigest() != _INSTRUCTION_SHA256:
        logging.getLogger(__name__).warning(
            "%s has another instruction than hpsv3 1.0.0: scores are not comparable with published ones", path
        )
    return instruction


def model_input(instruction: str, prompt: str, image_tokens: int) -> str:
    """The chat that Qwen2-VL reads: a picture of `image_tokens` tokens, then the instruction with the prompt.

    It ends with the special token. What follows in the chat cannot change the score, because attention is causal.
    """
    picture = f"<|vision_start|>{'<|image_pad|>' * image_tokens}<|vision_end|>"
    system = "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n"
    return f"{system}<|im_start|>user\n{picture}{instruction.replace(_PROMPT, prompt)}"
