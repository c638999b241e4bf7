"""A finetuned policy as a Python function of MLflow. MLflow imports a copy of this file that lies in the model.

The copy needs torch, diffusers, transformers, numpy, pandas and peft, and nothing else of this project. It draws as the
evaluations of the run do: the same steps, and the same noise for the same seed, prompt id and image index.
"""

from __future__ import annotations

import io
import json
import math
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

if TYPE_CHECKING:
    import pandas as pd

DRAWING = "drawing.json"
"""File of the model: steps, size and seed of its pictures, and the base model of an adapter."""

_EVALUATION = 1  # records.Stream.EVALUATION


class FinetunedPolicy:
    """A pipeline with the finetuned weights, and how it draws."""

    def __init__(self, folder: Path, base_model: str | None = None) -> None:
        """Load the model.

        Args:
            folder: the model.
            base_model: for an adapter, another location of its base model: a folder, or a hub id.
        """
        from diffusers import DiffusionPipeline

        self._drawing = json.loads((folder / DRAWING).read_text(encoding="utf-8"))
        adapter = self._drawing["adapter"]
        source = str(folder) if adapter is None else base_model or adapter["base_model"]
        revision = None if adapter is None or base_model else adapter["revision"]
        without = dict.fromkeys(self._drawing["without"])
        self.pipeline = DiffusionPipeline.from_pretrained(
            source, revision=revision, torch_dtype=torch.float32, **without
        )
        if adapter is not None:
            self.pipeline.load_lora_weights(folder, weight_name=adapter["weight_name"])
        self.pipeline.to("cuda" if torch.cuda.is_available() else "cpu")

    def predict(self, model_input: pd.DataFrame, params: dict[str, Any] | None = None) -> list[bytes]:
        """Draw a picture for each row, as PNG.

        Args:
            model_input: columns `prompt`, and optionally `prompt_id` and `image_index` of an evaluation.
            params: `seed` and `guidance_scale`; the defaults are those of the run.
        """
        given = {"seed": self._drawing["seed"], "guidance_scale": self._drawing["guidance_scale"], **(params or {})}
        rows = model_input.to_dict("records")
        return [self._png(self._draw(row, int(given["seed"]), float(given["guidance_scale"]))) for row in rows]

    @torch.no_grad()
    def _draw(self, row: dict[str, Any], seed: int, guidance_scale: float) -> Tensor:
        """x_0 [1, C, H, W] of a row: each step draws from N(p x + q out, std^2 I)."""
        prompt, drawing, device = str(row["prompt"]), self._drawing, self.pipeline.device
        identifier = str(_given(row, "prompt_id", sha256(prompt.encode()).hexdigest()[:16]))
        noise = _noise(seed, identifier, int(_given(row, "image_index", 0)), drawing).to(device)
        rounding = getattr(torch, drawing["latents_dtype"])
        conditions = [self._encoded(prompt)]
        if guidance_scale > 1 and not self._is_flux:
            conditions.insert(0, self._unconditional())
        x = noise[:1].to(rounding).float()
        for step in range(len(drawing["timesteps"])):
            p, q, std = (drawing[key][step] for key in ("p", "q", "stds"))
            t = torch.full((1,), drawing["timesteps"][step], device=device)
            branches = [self._output(x, t, each, guidance_scale) for each in conditions]
            output = branches[0]
            if len(branches) > 1:
                output = output + guidance_scale * (branches[1] - output)
            x = (p * x + q * output + std * noise[step + 1]).to(rounding).float()
        return x

    @property
    def _is_flux(self) -> bool:
        return type(self.pipeline).__name__ == "FluxPipeline"

    def _output(self, x: Tensor, t: Tensor, condition: tuple[Tensor, Tensor | None], guidance: float) -> Tensor:
        """Raw output of the network."""
        if hasattr(self.pipeline, "unet"):
            return self._output_of_unet(x, t, condition)
        embeddings, pooled = condition
        network = self.pipeline.transformer
        inputs = {"encoder_hidden_states": embeddings, "pooled_projections": pooled, "return_dict": False}
        if not self._is_flux:
            velocity: Tensor = network(hidden_states=x, timestep=t, **inputs)[0]
            return velocity
        height, width = x.shape[-2:]
        tokens: Tensor = network(
            hidden_states=self.pipeline._pack_latents(x, *x.shape),
            timestep=t / 1000,
            guidance=torch.full_like(t, guidance) if network.config.guidance_embeds else None,
            txt_ids=x.new_zeros(embeddings.shape[1], 3),
            img_ids=self.pipeline._prepare_latent_image_ids(1, height // 2, width // 2, x.device, x.dtype),
            **inputs,
        )[0]
        factor = self.pipeline.vae_scale_factor
        unpacked: Tensor = self.pipeline._unpack_latents(tokens, height * factor, width * factor, factor)
        return unpacked

    def _output_of_unet(self, x: Tensor, t: Tensor, condition: tuple[Tensor, Tensor | None]) -> Tensor:
        embeddings, pooled = condition
        extra = {}
        if pooled is not None:
            height, width = self._drawing["image_size"]
            sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32, device=x.device)
            extra["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": sizes}
        output: Tensor = self.pipeline.unet(x, t, encoder_hidden_states=embeddings, return_dict=False, **extra)[0]
        return output

    def _encoded(self, text: str) -> tuple[Tensor, Tensor | None]:
        """Embeddings of a prompt, and those that all but Stable Diffusion 1.x and 2.x pool."""
        options = {"device": self.pipeline.device, "num_images_per_prompt": 1}
        if (limit := self._drawing["max_sequence_length"]) is not None:
            options["max_sequence_length"] = limit
        if self._is_flux:
            embeddings, pooled, _ = self.pipeline.encode_prompt(text, None, **options)
            return embeddings, pooled
        options["do_classifier_free_guidance"] = False
        others = (None, None) if hasattr(self.pipeline, "transformer") else ()  # the other encoders' prompts of SD 3
        encoded = self.pipeline.encode_prompt(text, *others, **options)
        return (encoded[0], encoded[2] if len(encoded) > 2 else None)

    def _unconditional(self) -> tuple[Tensor, Tensor | None]:
        embeddings, pooled = self._encoded("")
        if pooled is None or not self.pipeline.config.get("force_zeros_for_empty_prompt", False):
            return embeddings, pooled
        return torch.zeros_like(embeddings), torch.zeros_like(pooled)

    @torch.no_grad()
    def _png(self, latents: Tensor) -> bytes:
        from PIL import Image

        vae = self.pipeline.vae
        scaled = latents / vae.config.scaling_factor + (vae.config.shift_factor or 0.0)
        mean, std = vae.config.latents_mean, vae.config.latents_std
        if mean is not None and std is not None:
            scaled = scaled * scaled.new_tensor(std)[:, None, None] + scaled.new_tensor(mean)[:, None, None]
        pixels = vae.decode(scaled, return_dict=False)[0][0].float()
        picture = ((pixels / 2 + 0.5).clamp(0, 1).permute(1, 2, 0).cpu().numpy() * 255).round().astype(np.uint8)
        buffer = io.BytesIO()
        Image.fromarray(picture).save(buffer, format="PNG")
        return buffer.getvalue()


def _given(row: dict[str, Any], column: str, default: object) -> Any:
    """The value of an optional column; pandas has NaN or None for a missing one."""
    value = row.get(column)
    is_missing = value is None or (isinstance(value, float) and math.isnan(value))
    return default if is_missing else value


def _noise(seed: int, prompt_id: str, image_index: int, drawing: dict[str, Any]) -> Tensor:
    """x_T, then a draw for each step, [T + 1, C, H, W]: that of diffusion.noise.image_generator."""
    key = int.from_bytes(sha256(prompt_id.encode()).digest()[:8], "big")
    sequence = np.random.SeedSequence([seed, _EVALUATION, 0, key, image_index])
    shape = (len(drawing["timesteps"]) + 1, *drawing["latent_shape"])
    return torch.from_numpy(np.random.Generator(np.random.Philox(sequence)).standard_normal(shape, dtype=np.float32))


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> FinetunedPolicy:
    """Called by mlflow.pyfunc.load_model."""
    return FinetunedPolicy(Path(path), (model_config or {}).get("base_model"))
