"""From a prompt set to an epoch's samples."""

from __future__ import annotations

import numpy as np

from reward_finetuning.config.errors import UserError
from reward_finetuning.prompts.prompt_set import PromptSet
from reward_finetuning.records import Prompt, Sample, Stream


def draw_prompts(prompts: PromptSet, num: int, *, seed: int, epoch: int) -> tuple[Prompt, ...]:
    """The `num` prompts of epoch 1, 2, ...: each pass over the set is shuffled anew, and cut into whole epochs.

    Raises:
        UserError: the set holds fewer than `num` prompts.
    """
    check_enough(prompts, num)
    epochs_per_pass = len(prompts.prompts) // num
    number, position = divmod(epoch - 1, epochs_per_pass)
    rng = np.random.default_rng([seed, Stream.PROMPT_ORDER, number])
    order = rng.permutation(len(prompts.prompts))[position * num : (position + 1) * num]
    return tuple(prompts.prompts[i] for i in order)


def check_enough(prompts: PromptSet, num: int) -> None:
    """Refuse a set too small for an epoch: the same prompt twice would be the same images twice."""
    if len(prompts.prompts) < num:
        raise UserError(
            f"prompts.prompts_per_epoch={num} but {prompts.source} holds {len(prompts.prompts)} prompts: "
            f"lower it to at most {len(prompts.prompts)}, or draw more images of each (sampling.images_per_prompt)"
        )


def samples_of(prompts: tuple[Prompt, ...], images_per_prompt: int) -> tuple[Sample, ...]:
    """B = N K samples, the K images of a prompt beside each other."""
    pairs = ((prompt, k) for prompt in prompts for k in range(images_per_prompt))
    return tuple(Sample(index, prompt, k) for index, (prompt, k) in enumerate(pairs))
