"""Random weights in the reward models' real file formats, made by their own packages; run in the scorer environment.

.venv-scorer/bin/python benchmarks/rewards/random_weights.py FOLDER [--full]
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import string
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from reward_finetuning.rewards.official import hpsv2, image_reward
from reward_finetuning.rewards.official.torchvision_shim import declare_missing_operators

SMALL_CLIP: dict[str, Any] = {
    "projection_dim": 64,
    "text_config": {
        "hidden_size": 64,
        "intermediate_size": 256,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "projection_dim": 64,
        "vocab_size": 49408,
        "hidden_act": "gelu",
    },
    "vision_config": {
        "hidden_size": 96,
        "intermediate_size": 384,
        "num_attention_heads": 6,
        "num_hidden_layers": 2,
        "projection_dim": 64,
        "image_size": 224,
        "patch_size": 14,
        "hidden_act": "gelu",
    },
}
SMALL_BLIP: dict[str, Any] = {
    "vision_config": {"hidden_size": 96, "intermediate_size": 384, "num_hidden_layers": 2, "num_attention_heads": 6},
    "text_config": {"hidden_size": 768, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 12},
}
LOGIT_SCALE = math.log(100)


class Arguments(argparse.Namespace):
    folder: Path
    full: bool


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument(
        "--full", action="store_true", help="the published sizes, about 8 GB; HPSv2 and ImageReward alone"
    )
    arguments = parser.parse_args(namespace=Arguments())
    torch.manual_seed(0)
    declare_missing_operators()
    small = not arguments.full
    for name, checkpoint in (("hpsv2", "HPS_v2_compressed.pt"), ("hpsv2_1", "HPS_v2.1_compressed.pt")):
        if small or name == "hpsv2":
            write_hpsv2(_folder(arguments.folder, name), checkpoint, small=small)
    write_image_reward(_folder(arguments.folder, "image_reward"), small=small)
    if small:
        write_clip(_folder(arguments.folder, "pickscore"))
        write_clip(_folder(arguments.folder, "aesthetic"))
        write_head(arguments.folder / "aesthetic" / "aesthetic-model.safetensors")


def write_hpsv2(folder: Path, checkpoint: str, *, small: bool) -> None:
    factory: Any = import_module("hpsv2.src.open_clip.factory")
    if small:
        (folder / "config.json").write_text(json.dumps(SMALL_CLIP))
        factory._MODEL_CONFIGS["ViT-H-14"] = hpsv2._open_clip_config(SMALL_CLIP)
    network = factory.create_model("ViT-H-14")
    network.logit_scale.data.fill_(LOGIT_SCALE)
    state = {name: value.half() for name, value in network.state_dict().items()}
    torch.save({"state_dict": state}, folder / checkpoint)
    write_clip_vocabulary(folder)


def write_image_reward(folder: Path, *, small: bool) -> None:
    paths = {"vocabulary": folder / "vocab.txt"}
    write_bert_vocabulary(paths["vocabulary"])
    if small:
        paths["config"] = folder / "config.json"
        paths["config"].write_text(json.dumps(SMALL_BLIP))
    network = image_reward.build(paths, "cpu")
    for layer in network.mlp.layers:
        if isinstance(layer, nn.Linear):  # as the package initialises it, every picture scores the same
            nn.init.normal_(layer.weight, std=layer.in_features**-0.5)
    torch.save(network.state_dict(), folder / "ImageReward.pt")


def write_clip(folder: Path) -> None:
    from transformers import CLIPConfig, CLIPModel

    network = CLIPModel(CLIPConfig(**SMALL_CLIP))
    network.logit_scale.data.fill_(LOGIT_SCALE)
    network.save_pretrained(folder)
    write_clip_vocabulary(folder)


def write_head(path: Path) -> None:
    sizes = {0: (64, 1024), 2: (1024, 128), 4: (128, 64), 6: (64, 16), 7: (16, 1)}
    layers = {number: nn.Linear(*size) for number, size in sizes.items()}
    # The published pickle has a known sha256; only a converted file may hold other numbers.
    save_file({f"layers.{n}.{k}": v for n, layer in layers.items() for k, v in layer.state_dict().items()}, path)


def write_clip_vocabulary(folder: Path) -> None:
    """CLIP's real vocabulary, from the merges that hpsv2 carries."""
    raw = gzip.decompress((files("hpsv2.src.open_clip") / "bpe_simple_vocab_16e6.txt.gz").read_bytes()).decode()
    merges = raw.split("\n")[1 : 49152 - 256 - 2 + 1]
    units = list(import_module("hpsv2.src.open_clip.tokenizer").bytes_to_unicode().values())
    tokens = [*units, *(f"{unit}</w>" for unit in units), *("".join(merge.split()) for merge in merges)]
    vocabulary = {token: number for number, token in enumerate([*tokens, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary, ensure_ascii=False), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


def write_bert_vocabulary(path: Path) -> None:
    """A vocabulary of bert-base-uncased's size that knows letters and a few words."""
    letters = string.digits + string.ascii_lowercase + string.punctuation
    words = ("a", "of", "in", "the", "on", "photo", "cat", "dog", "tiger", "frog", "goat", "red", "circle", "square")
    tokens = ["[PAD]", *(f"[unused{i}]" for i in range(99)), "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters]
    tokens = list(dict.fromkeys([*tokens, *(f"##{letter}" for letter in letters), *words]))
    path.write_text("\n".join([*tokens, *(f"[more{i}]" for i in range(30522 - len(tokens)))]) + "\n")


def _folder(parent: Path, name: str) -> Path:
    (parent / name).mkdir(parents=True, exist_ok=True)
    return parent / name


if __name__ == "__main__":
    main()
