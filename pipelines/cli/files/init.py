"""`rft init`: a run file to start from."""

from __future__ import annotations

import json
import shlex
import sys
from pathlib import Path
from string import Template
from typing import Annotated

import typer

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.config.load import validated
from reward_finetuning.config.parsing import parse_yaml
from reward_finetuning.inputs import check_names
from reward_finetuning.pipelines.cli.options import Gpu
from reward_finetuning.pipelines.estimate.cost import estimate
from reward_finetuning.pipelines.estimate.networks import ACCELERATORS
from reward_finetuning.policy.pretrained.built_in import BUILT_IN_MODELS
from reward_finetuning.policy.pretrained.published_models import PUBLISHED_MODELS

TEMPLATE = Path(__file__).with_name("starter.yaml")
_BUILT_IN = "shapes"
_HELD_OUT = json.dumps({"train": "shapes:train", "heldout": "shapes:heldout"})
_SHAPES = {
    "dtype": "float32", "rank": 8, "alpha": 4.0, "num_prompts": 32, "steps": 5, "spacing": "quadratic", "guidance": 1.0,
    "micro_batch": 128, "kl_weight": "0.3", "clip_range": "1.0e-3", "updates": 2, "learning_rate": "6.0e-3",
    "old_log_probs": "stored", "epochs": 40, "flow": "",
}  # fmt: skip
"""The settings of shapes-prdp.yaml."""

_SHAPES_FLOW = _SHAPES | {
    "steps": 6, "spacing": "leading", "flow": "\n  flow: {sampler: cps, eta: 0.9}",
    "kl_weight": "1.0", "updates": 1, "learning_rate": "1.0e-2", "epochs": 32,
}  # fmt: skip
"""The settings of shapes-flow-prdp.yaml."""

_TARGETS = ", targets: [to_q, to_k, to_v, to_out.0, add_q_proj, add_k_proj, add_v_proj, to_add_out]"
_NO_T5 = "\n  t5: false\n  max_sequence_length: 1        # in place of T5, as in the pretraining of this model"

_STABLE_DIFFUSION = {
    "dtype": "float16", "rank": 8, "alpha": 8.0, "num_prompts": 16, "steps": 20, "spacing": "leading", "guidance": 5.0,
    "micro_batch": 8, "kl_weight": "3.0e-5", "clip_range": "1.0e-4", "updates": 2, "learning_rate": "1.0e-4",
    "old_log_probs": "replay", "epochs": 50, "flow": "",
}  # fmt: skip
"""Settings to start from; they were not tuned."""

_FREE = 0.85
"""Share of the GPU's memory that the estimate may take: it is accurate to about 30 %."""


def init(
    name: Annotated[str, typer.Argument(metavar="NAME", help="Name of the run; the file is NAME.yaml.")],
    model: Annotated[
        str | None, typer.Option(help="shapes, shapes-flow, a folder of diffusers, a hub id, or a .safetensors file.")
    ] = None,
    revision: Annotated[
        str | None, typer.Option(help="Commit of a hub id; common models have a default commit.")
    ] = None,
    prompts: Annotated[str | None, typer.Option(help="Training prompts: a file, or a built-in set.")] = None,
    reward: Annotated[str | None, typer.Option(help="Scorer to train on, e.g. pickscore.")] = None,
    gpu: Annotated[Gpu | None, typer.Option(help="GPU of the run; the batch of training fits its memory.")] = None,
) -> None:
    """Write a commented run file to start from.

    On a terminal, the command asks for what is not given as an option; elsewhere, it takes the defaults.

    Example: `rft init my-run --model CompVis/stable-diffusion-v1-4 --reward pickscore --gpu l4`
    """
    path = Path(f"{name}.yaml")
    if path.exists():
        raise UserError(f"{path} exists: choose another name, or remove it")
    model = model or _asked("Model (shapes, shapes-flow, a folder, a hub id or a .safetensors file)", _BUILT_IN)
    own = model in BUILT_IN_MODELS
    prompts = prompts or _asked("Training prompts (a file or a built-in set)", "shapes:train" if own else "animals")
    reward = reward or _asked("Reward (rft fetch-weights lists the models)", "shapes" if own else "pickscore")
    gpu = gpu or (None if own else Gpu(_asked(f"GPU ({', '.join(Gpu)})", Gpu.L4)))
    text = starter(name, model, revision, prompts, reward, gpu)
    path.write_text(text, encoding="utf-8")
    print(f"{path}: a run of {reward} on {model}. Next:")
    for command in ("estimate", "run", "status", "report"):
        print(f"  rft {command} {shlex.quote(str(path))}")


def starter(name: str, model: str, revision: str | None, prompts: str, reward: str, gpu: Gpu | None) -> str:
    """The text of a run file, checked as far as names and values go.

    Raises:
        UserError: an answer cannot stand in a run file, or no batch fits the memory of the GPU.
    """
    revision = revision or (PUBLISHED_MODELS[model].commit if model in PUBLISHED_MODELS else None)
    own = model in BUILT_IN_MODELS
    settings = {"shapes": _SHAPES, "shapes-flow": _SHAPES_FLOW}.get(model, _STABLE_DIFFUSION)
    answers = {
        "name": json.dumps(name),
        "model": json.dumps(model),
        "revision": f"\n  revision: {revision}" if revision else "",
        "prompts": json.dumps(prompts),
        "reward": json.dumps(reward),
        "guard": "colourfulness" if reward != "colourfulness" else "jpeg_compressibility",
        "evaluation": _HELD_OUT if own else json.dumps({"train": prompts}),
        "tokens": _NO_T5 if model == "shapes-flow" else "",
        "targets": _TARGETS if model == "shapes-flow" else "",
        **settings,
    }
    template = Template(TEMPLATE.read_text(encoding="utf-8"))
    for cells in (160,) if own else (64, 32, 16, 8, 4, 2, 1):
        text = template.substitute(answers, cells=cells)
        config = validated(RunConfig, parse_yaml(text, "the run file"), "the run file")
        check_names(config)
        if gpu is None or _fits(config, gpu):
            return text
    assert gpu is not None
    raise UserError(f"{model} does not fit into the memory of one {gpu.value}: choose a larger --gpu")


def _fits(config: RunConfig, gpu: Gpu) -> bool:
    accelerator = ACCELERATORS[gpu.value]
    return estimate(config, accelerator).roles["train"].memory <= _FREE * accelerator.memory


def _asked(question: str, default: str) -> str:
    """The answer on a terminal; else the default."""
    return str(typer.prompt(question, default=default)) if sys.stdin.isatty() else default
