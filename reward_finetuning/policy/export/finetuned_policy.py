"""A finetuned policy as a Python function of MLflow. MLflow imports a copy of this file that lies in the model.

The copy needs torch, diffusers, transformers, numpy, pandas and peft, and nothing else of this project. It draws as the
evaluations of the run do: the same steps, and the same noise for the same seed, prompt id and image index.
"""

from __future__ import annotations

import io
import json
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
        self.pipeline = DiffusionPipeline.from_pretrained(source, revision=revision, torch_dtype=torch.float32)
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
        """x_0 [1, C, H, W] of a row.

        Source: Song et al. 2021 (arXiv:2010.02502), eq. 12.
        """
        prompt, drawing, device = str(row["prompt"]), self._drawing, self.pipeline.device
        identifier = str(_given(row, "prompt_id", sha256(prompt.encode()).hexdigest()[:16]))
        noise = _noise(seed, identifier, int(_given(row, "image_index", 0)), drawing).to(device)
        rounding = getattr(torch, drawing["latents_dtype"])
        conditions = [self._encoded(prompt)]
        if guidance_scale > 1:
            conditions.insert(0, self._unconditional())
        x = noise[:1].to(rounding).float()
        for step in range(len(drawing["timesteps"])):
            a, a_prev, std = (drawing[key][step] for key in ("alpha_bars", "alpha_bars_prev", "stds"))
            branches = [self._epsilon(x, drawing["timesteps"][step], a, each) for each in conditions]
            epsilon = branches[0]
            if len(branches) > 1:
                epsilon = epsilon + guidance_scale * (branches[1] - epsilon)
            q = max(1 - a_prev - std**2, 0.0) ** 0.5 - ((1 - a) * a_prev / a) ** 0.5
            mean = (a_prev / a) ** 0.5 * x + q * epsilon
            x = (mean + std * noise[step + 1]).to(rounding).float()
        return x

    def _epsilon(self, x: Tensor, timestep: int, alpha_bar: float, condition: tuple[Tensor, Tensor | None]) -> Tensor:
        embeddings, pooled = condition
        extra = {}
        if pooled is not None:
            height, width = self._drawing["image_size"]
            sizes = torch.tensor([[height, width, 0, 0, height, width]], dtype=torch.float32, device=x.device)
            extra["added_cond_kwargs"] = {"text_embeds": pooled, "time_ids": sizes}
        t = torch.full((1,), timestep, device=x.device)
        output: Tensor = self.pipeline.unet(x, t, encoder_hidden_states=embeddings, return_dict=False, **extra)[0]
        if self._drawing["prediction"] == "v_prediction":
            return alpha_bar**0.5 * output + (1 - alpha_bar) ** 0.5 * x
        return output

    def _encoded(self, text: str) -> tuple[Tensor, Tensor | None]:
        """Embeddings of a prompt, and those that SDXL pools."""
        options = {"device": self.pipeline.device, "num_images_per_prompt": 1, "do_classifier_free_guidance": False}
        encoded = self.pipeline.encode_prompt(text, **options)
        return (encoded[0], encoded[2] if len(encoded) > 2 else None)

    def _unconditional(self) -> tuple[Tensor, Tensor | None]:
        embeddings, pooled = self._encoded("")
        if pooled is None or not self.pipeline.config.force_zeros_for_empty_prompt:
            return embeddings, pooled
        return torch.zeros_like(embeddings), torch.zeros_like(pooled)

    @torch.no_grad()
    def _png(self, latents: Tensor) -> bytes:
        from PIL import Image

        vae = self.pipeline.vae
        scaled = latents / vae.config.scaling_factor
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
    return default if value is None or value != value else value  # noqa: PLR0124 NaN alone differs from itself


def _noise(seed: int, prompt_id: str, image_index: int, drawing: dict[str, Any]) -> Tensor:
    """x_T, then a draw for each step, [T + 1, C, H, W]: that of diffusion.noise.image_generator."""
    key = int.from_bytes(sha256(prompt_id.encode()).digest()[:8], "big")
    sequence = np.random.SeedSequence([seed, _EVALUATION, 0, key, image_index])
    shape = (len(drawing["timesteps"]) + 1, *drawing["latent_shape"])
    return torch.from_numpy(np.random.Generator(np.random.Philox(sequence)).standard_normal(shape, dtype=np.float32))


def _load_pyfunc(path: str, model_config: dict[str, Any] | None = None) -> FinetunedPolicy:
    """Called by mlflow.pyfunc.load_model."""
    return FinetunedPolicy(Path(path), (model_config or {}).get("base_model"))
