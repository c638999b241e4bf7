"""CPU time of a UNet under guidance: both branches whole, and with the layers that they share evaluated once.

    OMP_NUM_THREADS=1 python benchmarks/shared_layers.py

The built-in model with LoRA, forward, and forward and backward; and a UNet of the size of Stable Diffusion 1.5 with
random weights and one latent of 64 x 64, forward. Both forms have the same weights and take turns.
"""

from __future__ import annotations

import copy
import statistics
import time
from typing import Any

import torch
from diffusers import UNet2DConditionModel

from reward_finetuning.config.sections.model import LoraConfig
from reward_finetuning.policy.denoiser import GuidedDenoiser
from reward_finetuning.policy.lora.adapter import add_adapter
from reward_finetuning.policy.networks import Precision, UNet
from reward_finetuning.policy.pretrained.built_in import BUILT_IN
from reward_finetuning.policy.shared_layers import share_layers
from reward_finetuning.records import Conditioning

SD15 = {"sample_size": 64, "cross_attention_dim": 768, "attention_head_dim": 8}


class BothForms:
    """One network as two denoisers."""

    def __init__(self, unet: Any, tokens: int) -> None:
        whole = unet.eval().to(memory_format=torch.channels_last)
        self.networks = {"whole": whole, "shared": copy.deepcopy(whole)}
        share_layers(self.networks["shared"])
        width = unet.config.cross_attention_dim
        empty = Conditioning(torch.randn(1, tokens, width))
        self._prompt = Conditioning(torch.randn(1, tokens, width))
        self._denoisers = {
            name: GuidedDenoiser(UNet(network, precision=Precision()), lambda: empty, guidance_scale=3.0)
            for name, network in self.networks.items()
        }

    def line(self, label: str, latents: int, *, backward: bool, calls: int, rounds: int = 10) -> str:
        """Median milliseconds of a pass in both forms, and their ratio."""
        side = self.networks["whole"].config.sample_size
        x, t = torch.randn(latents, 4, side, side), torch.full((latents,), 500)
        prompts = self._prompt[torch.zeros(latents, dtype=torch.int64)]
        seconds: dict[str, list[float]] = {name: [] for name in self.networks}
        for _ in range(rounds + 1):  # the first one warms up
            for name, denoise in self._denoisers.items():
                before = time.process_time()
                for _ in range(calls):
                    with torch.set_grad_enabled(backward):
                        output = denoise(x, t, prompts)
                    if backward:
                        output.mean().backward()
                seconds[name].append((time.process_time() - before) / calls)
        whole, shared = (1000 * statistics.median(seconds[name][1:]) for name in ("whole", "shared"))
        return f"{label:58} {whole:10.1f} {shared:10.1f} {whole / shared:8.3f}"


def main() -> None:
    """Print a line per network and pass."""
    torch.manual_seed(0)
    print(f"{'CPU milliseconds':58} {'whole':>10} {'shared':>10} {'ratio':>8}")
    unet = UNet2DConditionModel.from_pretrained(BUILT_IN, subfolder="unet").requires_grad_(requires_grad=False)
    add_adapter(unet, LoraConfig(rank=4, alpha=4), seed=0)
    built_in = BothForms(unet, tokens=16)
    for latents in (8, 64):
        for backward in (False, True):
            passes = "forward and backward" if backward else "forward"
            label = f"built-in model, {latents} latents, {passes}"
            print(built_in.line(label, latents, backward=backward, calls=128 // latents), flush=True)
    large = BothForms(UNet2DConditionModel(**SD15).requires_grad_(requires_grad=False), tokens=77)
    print(large.line("Stable Diffusion 1.5, 1 latent, forward", 1, backward=False, calls=1, rounds=4))


if __name__ == "__main__":
    main()
