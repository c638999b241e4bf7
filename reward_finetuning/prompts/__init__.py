"""Prompt sets: read and check them, draw the prompts of an epoch reproducibly. Prompts are untrusted text."""

from reward_finetuning.prompts.draw import check_enough, draw_prompts, samples_of
from reward_finetuning.prompts.prompt_set import PromptSet
from reward_finetuning.prompts.read import read_prompts

__all__ = ["PromptSet", "check_enough", "draw_prompts", "read_prompts", "samples_of"]
