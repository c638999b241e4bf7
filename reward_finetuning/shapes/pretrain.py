"""Pretrain a small pipeline of the built-in world, and save it with a record of the training.

`--family unet` makes the StableDiffusionPipeline of this package. `--family flow` makes a StableDiffusion3Pipeline, a
flow model with a transformer, on the latents of the VAE of this package.

On a machine with other load, set OMP_NUM_THREADS=1 or OMP_WAIT_POLICY=passive, because waiting threads spin.

Example:
    python -m reward_finetuning.shapes.pretrain --seed 0 --output reward_finetuning/shapes/weights
    python -m reward_finetuning.shapes.pretrain --family flow --output reward_finetuning/shapes/flow_weights
"""

import argparse
import json
import shlex
import time
from collections.abc import Callable, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch

from reward_finetuning.shapes.batches import Examples, train
from reward_finetuning.shapes.captions import draw_scene
from reward_finetuning.shapes.flow import build_flow_pipeline, flow_loss
from reward_finetuning.shapes.measure import ETA, GUIDANCE_SCALE, NUM_STEPS, measure
from reward_finetuning.shapes.render import render
from reward_finetuning.shapes.scene import Scene
from reward_finetuning.shapes.text_encoder import build_text_encoder, write_tokenizer
from reward_finetuning.shapes.unet import build_scheduler, build_unet, denoising_loss
from reward_finetuning.shapes.vae import build_vae, encode, train_vae

WEIGHTS = Path(__file__).parent / "weights"
"""Folder of the UNet's pipeline in this package."""

FLOW_WEIGHTS = Path(__file__).parent / "flow_weights"
"""Folder of the flow model."""

RECORD = "pretrained.json"
_HELDOUT_PICTURES = 2048
_HELDOUT_SEED_OFFSET = 1  # captions and noise of held-out pictures have another seed than the training batches


def parser() -> argparse.ArgumentParser:
    """The command-line options."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("--output", type=Path, required=True, help="output folder of the pipeline")
    options.add_argument("--family", choices=("unet", "flow"), default="unet")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--pictures", type=int, default=30_000, help="number of training pictures")
    options.add_argument("--vae-steps", type=int, default=2500)
    options.add_argument("--vae-batch-size", type=int, default=32)
    options.add_argument("--vae-learning-rate", type=float, default=3e-3)
    for name, default in (("steps", 6000), ("batch-size", 64), ("learning-rate", 2e-3)):
        both = (f"--denoiser-{name}", f"--unet-{name}")
        options.add_argument(*both, type=type(default), default=default, help="of the UNet or the transformer")
    options.add_argument("--caption-noise", type=float, default=0.65, help="share of wrong captions, 0 to 1")
    options.add_argument(
        "--images-per-prompt", type=int, default=16, help="pictures per prompt in the final measurement"
    )
    return options


def main(argv: Sequence[str] | None = None) -> None:
    """Render pictures, train the VAE and the denoiser with its text encoders, save the pipeline, measure its reward."""
    options = parser().parse_args(argv)
    # Layers are initialised with the global generator of torch. A program may seed it.
    torch.manual_seed(options.seed)
    start = time.monotonic()
    curves: dict[str, list[tuple[int, float]]] = {"vae_loss": [], "heldout_loss": []}

    def report(name: str, step: int, loss: float) -> None:
        curves[name].append((step, round(loss, 5)))
        print(f"{time.monotonic() - start:6.0f} s  {name} {step}: {loss:.5f}", flush=True)

    pictures, scenes = draw(options.pictures + _HELDOUT_PICTURES, np.random.default_rng(options.seed))
    tokenizer = write_tokenizer(options.output / "tokenizer")
    if options.family == "flow":
        from diffusers import AutoencoderKL

        pipeline = build_flow_pipeline(AutoencoderKL.from_pretrained(WEIGHTS / "vae"), tokenizer)
    else:
        pipeline = _unet_pipeline(_trained_vae(pictures[_HELDOUT_PICTURES:], options, report), tokenizer)
    latents = encode(pipeline.vae, pictures)
    _train_on(latents, scenes, pipeline, options, lambda step, loss: report("heldout_loss", step, loss))
    pipeline.save_pretrained(options.output, safe_serialization=True)
    pipeline.set_progress_bar_config(disable=True)
    rewards = measure(pipeline, images_per_prompt=options.images_per_prompt, seed=options.seed)
    record = _record(options, curves, rewards, minutes=(time.monotonic() - start) / 60)
    (options.output / RECORD).write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(json.dumps(rewards, indent=1))


def draw(count: int, rng: np.random.Generator) -> tuple[torch.Tensor, list[Scene]]:
    """[N, 3, 32, 32] uint8 pictures and their N scenes."""
    scenes = [draw_scene(rng) for _ in range(count)]
    pictures = np.stack([render(scene, rng) for scene in scenes])
    return torch.from_numpy(pictures).permute(0, 3, 1, 2).contiguous(), scenes


def _trained_vae(pictures: torch.Tensor, options: argparse.Namespace, report: Callable[[str, int, float], None]) -> Any:
    vae = build_vae()
    train_vae(
        vae,
        pictures,
        steps=options.vae_steps,
        batch_size=options.vae_batch_size,
        learning_rate=options.vae_learning_rate,
        generator=torch.Generator().manual_seed(options.seed),
        report=lambda step, loss: report("vae_loss", step, loss),
    )
    return vae


def _unet_pipeline(vae: Any, tokenizer: Any) -> Any:
    """The pipeline with `vae`, and an untrained UNet and text encoder."""
    from diffusers import StableDiffusionPipeline

    return StableDiffusionPipeline(
        vae=vae,
        text_encoder=build_text_encoder(tokenizer),
        tokenizer=tokenizer,
        unet=build_unet(),
        scheduler=build_scheduler(),
        safety_checker=None,
        feature_extractor=None,
        requires_safety_checker=False,
    )


def _train_on(
    latents: torch.Tensor, scenes: list[Scene], pipeline: Any, options: argparse.Namespace, report: Any
) -> None:
    """Train the denoiser and the text encoders of the pipeline. The first pictures are held out for the loss curve."""
    n, noise = _HELDOUT_PICTURES, options.caption_noise
    heldout = Examples(latents[:n], scenes[:n], pipeline.tokenizer, caption_noise=noise)
    examples = Examples(latents[n:], scenes[n:], pipeline.tokenizer, caption_noise=noise)
    if options.family == "flow":
        parts = [pipeline.transformer, pipeline.text_encoder, pipeline.text_encoder_2]
        loss_of = partial(flow_loss, pipeline.transformer, parts[1:])
    else:
        parts = [pipeline.unet, pipeline.text_encoder]
        loss_of = partial(denoising_loss, pipeline.unet, pipeline.text_encoder, pipeline.scheduler)
    train(
        [parameter for part in parts for parameter in part.parameters()],
        loss_of,
        examples=examples.batches(options.denoiser_batch_size, seed=options.seed),
        steps=options.denoiser_steps,
        learning_rate=options.denoiser_learning_rate,
        heldout=next(heldout.batches(n, seed=options.seed + _HELDOUT_SEED_OFFSET)),
        report=report,
    )


def _record(
    options: argparse.Namespace,
    curves: dict[str, list[tuple[int, float]]],
    rewards: dict[str, dict[str, float]],
    *,
    minutes: float,
) -> dict[str, Any]:
    """Content of pretrained.json."""
    settings = {name: value for name, value in vars(options).items() if name != "output"}
    flags = [text for name, value in settings.items() for text in (f"--{name.replace('_', '-')}", str(value))]
    return {
        "command": f"python -m reward_finetuning.shapes.pretrain --output DIR {shlex.join(flags)}",
        "settings": settings,
        "minutes": round(minutes, 1),
        "curves": curves,
        "sampling": {"num_steps": NUM_STEPS, "guidance_scale": GUIDANCE_SCALE, "eta": ETA},
        "measured": {
            split: {name: round(value, 4) for name, value in numbers.items()} for split, numbers in rewards.items()
        },
        "versions": {name: version(name) for name in ("torch", "diffusers", "transformers", "numpy")},
    }


if __name__ == "__main__":
    main()
