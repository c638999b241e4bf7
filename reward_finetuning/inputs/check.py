"""The one check that everything a run reads is there and right."""

from __future__ import annotations

import subprocess
import sys
from functools import cache
from importlib.util import find_spec

from reward_finetuning.config.errors import UserError
from reward_finetuning.config.run import RunConfig
from reward_finetuning.policy.pretrained.source import check_model
from reward_finetuning.policy.warm_start import warm_start_digest
from reward_finetuning.prompts import check_enough, read_prompts
from reward_finetuning.rewards.scorer import check_prompts, check_scorers
from reward_finetuning.server_errors import one_line
from reward_finetuning.storage import RunDirectory
from reward_finetuning.tracking import check_server


def check_inputs(config: RunConfig, *, training: bool = True) -> None:
    """Check scorers, prompt sets, model, optimizer, the policy to start from, and that tracking has a server.

    Nothing is downloaded from the hub, and no server is asked.

    Args:
        config: of a run, or of an evaluation.
        training: False for an evaluation, which does not read the training prompts.

    Raises:
        UserError: the first thing that is wrong.
    """
    check_server(RunDirectory(config))
    check_scorers(config.reward)
    prompt_sets = [read_prompts(source) for source in config.evaluation.prompt_sets.values()]
    if training:
        train = read_prompts(config.prompts.train)
        check_enough(train, config.prompts.prompts_per_epoch)
        _check_optimizer(config)
        prompt_sets.insert(0, train)
    _check_quantization(config)
    for prompts in prompt_sets:
        check_prompts(config.reward, prompts.source, [prompt.text for prompt in prompts.prompts])
    check_model(config.model, config.sampling)
    check_model(config.model, config.evaluation_sampling)
    warm_start_digest(config)


_DEVICE = """
import sys, torch
device = sys.argv[1] if sys.argv[1] != "auto" else "cuda" if torch.cuda.is_available() else "cpu"
"""
_STEP = f"""{_DEVICE}
from bitsandbytes.optim import AdamW8bit
weight = torch.nn.Parameter(torch.ones(4096, device=device))
weight.grad = torch.ones_like(weight)
AdamW8bit([weight]).step()
"""
_LAYER = f"""{_DEVICE}
from bitsandbytes.nn import Linear8bitLt
layer = Linear8bitLt(64, 64, has_fp16_weights=False).to(device)
layer(torch.ones(32, 64, device=device, dtype=torch.float16))
"""


def _check_optimizer(config: RunConfig) -> None:
    """Refuse the 8-bit optimizer where it does no step."""
    if config.training.optimizer == "adamw":
        return
    if find_spec("bitsandbytes") is None:
        raise UserError(
            "training.optimizer=adamw_8bit is the AdamW of bitsandbytes: pip install 'reward-finetuning[8bit]'"
        )
    if reason := _failure(_STEP, config.model.device):
        raise UserError(
            f"training.optimizer=adamw_8bit: bitsandbytes does no step on this machine ({reason}); use "
            "training.optimizer: adamw, or a build of bitsandbytes for its device"
        )


def _check_quantization(config: RunConfig) -> None:
    """Refuse 8-bit weights where no such layer can be evaluated."""
    if config.model.quantization == "none":
        return
    if find_spec("bitsandbytes") is None:
        raise UserError("model.quantization=int8 needs bitsandbytes: pip install 'reward-finetuning[8bit]'")
    if reason := _failure(_LAYER, config.model.device):
        raise UserError(
            f"model.quantization=int8: bitsandbytes evaluates no 8-bit layer on this machine ({reason}); use "
            "model.quantization: none, or a build of bitsandbytes for its device"
        )


@cache
def _failure(program: str, device: str) -> str:
    """Why a program fails, empty if it does not; it runs in a process of its own, which gives the GPU's memory back."""
    done = subprocess.run([sys.executable, "-c", program, device], capture_output=True, text=True, check=False)
    return "" if done.returncode == 0 else one_line(done.stderr.strip().rpartition("\n")[2], 300) or "no message"
