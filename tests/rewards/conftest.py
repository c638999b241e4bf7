"""Small random weights in the reward models' file formats, and real servers on loopback."""

import json
import math
import string
import subprocess
import sys
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest
import torch

from reward_finetuning.rewards.remote import http
from reward_finetuning.rewards.remote.server import ScoringServer, Served

CLIP = {
    "model_type": "clip",
    "projection_dim": 16,
    "text_config": {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "projection_dim": 16,
        "hidden_act": "gelu",
    },
    "vision_config": {
        "hidden_size": 48,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_hidden_layers": 2,
        "projection_dim": 16,
        "image_size": 224,
        "patch_size": 56,
        "hidden_act": "gelu",
    },
}
BLIP = {
    "vision_config": {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 4},
    "text_config": {"hidden_size": 24, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 3},
}


@pytest.fixture(scope="session")
def pictures():
    """Seven grainy pictures [7, 96, 130, 3] and their prompts, of which some are the same."""
    images = np.random.default_rng(0).integers(0, 256, (7, 96, 130, 3), dtype=np.uint8)
    return images, ["a red cat", "a dog", "a red cat", "A  Dog & a cat!", "a dog", "a cat " * 60, "a red cat"]


@pytest.fixture(scope="session")
def clip_model():
    """A random CLIPModel that says exp(logit_scale) = 100."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(0)
    model = CLIPModel(CLIPConfig(**CLIP)).eval()
    model.logit_scale.data.fill_(math.log(100))
    for parameter in model.parameters():  # transformers starts at 0.02, where all features look alike
        if parameter.ndim > 1:
            torch.nn.init.normal_(parameter, std=0.2)
    return model


@pytest.fixture(scope="session")
def clip_files(tmp_path_factory, clip_model):
    """PickScore's files, as transformers saves them; copy them before changing any."""
    folder = tmp_path_factory.mktemp("clip")
    clip_model.save_pretrained(folder)
    write_clip_vocabulary(folder)
    return folder


@pytest.fixture(scope="session")
def hpsv2_files(tmp_path_factory, clip_model):
    """HPSv2's files: open_clip's names, in a pickle of float16 under "state_dict"."""
    folder = tmp_path_factory.mktemp("hpsv2")
    state = {name: value.half() for name, value in open_clip_state(clip_model).items()}
    state["logit_scale"] = state["logit_scale"].float()
    torch.save({"state_dict": state}, folder / "HPS_v2_compressed.pt")
    (folder / "config.json").write_text(json.dumps(CLIP))
    write_clip_vocabulary(folder)
    return folder


@pytest.fixture(scope="session")
def image_reward_files(tmp_path_factory):
    """ImageReward's files: image-reward's names, in a pickle."""
    folder = tmp_path_factory.mktemp("image_reward")
    torch.manual_seed(0)
    torch.save(
        {name: torch.randn(shape) * 0.2 for name, shape in image_reward_shapes().items()}, folder / "ImageReward.pt"
    )
    (folder / "config.json").write_text(json.dumps(BLIP))
    letters = string.ascii_lowercase + string.digits + string.punctuation
    tokens = [
        "[PAD]",
        "[UNK]",
        "[CLS]",
        "[SEP]",
        "[MASK]",
        *letters,
        *(f"##{letter}" for letter in letters),
        "cat",
        "dog",
        "red",
    ]
    (folder / "vocab.txt").write_text("\n".join([*tokens, *(f"[more{i}]" for i in range(30522 - len(tokens)))]) + "\n")
    return folder


def write_clip_vocabulary(folder):
    """A vocabulary of CLIP's length whose only words are cat and dog; the rest is spelt."""
    units = [chr(code) for code in (*range(33, 127), *range(161, 173), *range(174, 256))]
    units += [chr(256 + number) for number in range(256 - len(units))]
    merges = ["c a", "ca t</w>", "d o", "do g</w>"]
    tokens = [*units, *(f"{unit}</w>" for unit in units), *("".join(merge.split()) for merge in merges)]
    filler = [f"more{number}" for number in range(49408 - 2 - len(tokens))]
    vocabulary = {token: number for number, token in enumerate([*tokens, *filler, "<|startoftext|>", "<|endoftext|>"])}
    (folder / "vocab.json").write_text(json.dumps(vocabulary), encoding="utf-8")
    (folder / "merges.txt").write_text("\n".join(["#version: 0.2", *merges, ""]), encoding="utf-8")


def open_clip_state(model):
    """The weights of a CLIPModel as open_clip names and lays them out."""
    text, vision = model.text_model, model.vision_model
    state = {
        "logit_scale": model.logit_scale,
        "text_projection": model.text_projection.weight.T,
        "token_embedding.weight": text.embeddings.token_embedding.weight,
        "positional_embedding": text.embeddings.position_embedding.weight,
        "ln_final.weight": text.final_layer_norm.weight,
        "ln_final.bias": text.final_layer_norm.bias,
        "visual.proj": model.visual_projection.weight.T,
        "visual.class_embedding": vision.embeddings.class_embedding,
        "visual.conv1.weight": vision.embeddings.patch_embedding.weight,
        "visual.positional_embedding": vision.embeddings.position_embedding.weight,
        "visual.ln_pre.weight": vision.pre_layrnorm.weight,
        "visual.ln_pre.bias": vision.pre_layrnorm.bias,
        "visual.ln_post.weight": vision.post_layernorm.weight,
        "visual.ln_post.bias": vision.post_layernorm.bias,
    }
    for prefix, tower in (("transformer", text), ("visual.transformer", vision)):
        for number, layer in enumerate(tower.encoder.layers):
            attention = layer.self_attn
            projections = (attention.q_proj, attention.k_proj, attention.v_proj)
            block = {
                "attn.in_proj_weight": torch.cat([each.weight for each in projections]),
                "attn.in_proj_bias": torch.cat([each.bias for each in projections]),
            }
            named = {"attn.out_proj": attention.out_proj, "ln_1": layer.layer_norm1, "ln_2": layer.layer_norm2}
            named |= {"mlp.c_fc": layer.mlp.fc1, "mlp.c_proj": layer.mlp.fc2}
            for name, module in named.items():
                block |= {f"{name}.weight": module.weight, f"{name}.bias": module.bias}
            state |= {f"{prefix}.resblocks.{number}.{name}": value for name, value in block.items()}
    return {name: value.detach().clone() for name, value in state.items()}


def image_reward_shapes():
    """Name -> shape of every tensor in an ImageReward checkpoint of BLIP's size above."""
    v, t, f = 32, 24, 48
    shapes = {
        "blip.visual_encoder.cls_token": (1, 1, v),
        "blip.visual_encoder.pos_embed": (1, 197, v),
        "blip.visual_encoder.patch_embed.proj.weight": (v, 3, 16, 16),
        "blip.visual_encoder.patch_embed.proj.bias": (v,),
        "blip.text_encoder.embeddings.word_embeddings.weight": (30524, t),
        "blip.text_encoder.embeddings.position_embeddings.weight": (512, t),
        "blip.vision_proj.weight": (8, v),
        "blip.vision_proj.bias": (8,),
        "blip.text_proj.weight": (8, t),
        "blip.text_proj.bias": (8,),
        "blip.text_encoder.embeddings.position_ids": (1, 512),
    }
    linear = {"blip.visual_encoder.norm": (v,), "blip.text_encoder.embeddings.LayerNorm": (t,)}
    for i in range(2):
        block = f"blip.visual_encoder.blocks.{i}."
        linear |= {f"{block}norm1": (v,), f"{block}norm2": (v,), f"{block}attn.qkv": (3 * v, v)}
        linear |= {f"{block}attn.proj": (v, v), f"{block}mlp.fc1": (64, v), f"{block}mlp.fc2": (v, 64)}
        layer = f"blip.text_encoder.encoder.layer.{i}."
        for attention, seen in (("attention", t), ("crossattention", v)):
            linear |= {f"{layer}{attention}.self.query": (t, t), f"{layer}{attention}.self.key": (t, seen)}
            linear |= {f"{layer}{attention}.self.value": (t, seen), f"{layer}{attention}.output.dense": (t, t)}
            linear |= {f"{layer}{attention}.output.LayerNorm": (t,)}
        linear |= {
            f"{layer}intermediate.dense": (f, t),
            f"{layer}output.dense": (t, f),
            f"{layer}output.LayerNorm": (t,),
        }
    sizes = {0: (1024, t), 2: (128, 1024), 4: (64, 128), 6: (16, 64), 7: (1, 16)}
    linear |= {f"mlp.layers.{number}": shape for number, shape in sizes.items()}
    for name, shape in linear.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes


@pytest.fixture(autouse=True)
def _short_pauses(monkeypatch):
    monkeypatch.setattr(http, "BACKOFF_SECONDS", 0.01)


@contextmanager
def running(server):
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def scripted():
    """A server that does, request after request, what a list of functions of the handler says; the last one again."""

    @contextmanager
    def start(*script):
        seen = []

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                page = b"<html>welcome</html>"
                self.respond(200, page if self.path.startswith("/web") else b'{"name": "scripted", "digest": "d"}')

            def do_POST(self):
                seen.append(self.rfile.read(int(self.headers["Content-Length"])))
                script[min(len(seen), len(script)) - 1](self)

            def respond(self, status, body, **headers):
                self.send_response(status)
                for key, value in {"Content-Length": str(len(body)), **headers}.items():
                    self.send_header(key.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *args):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        with running(server) as url:
            yield url, seen

    return start


@pytest.fixture
def serving():
    """One of our own servers, in this process."""

    @contextmanager
    def start(scorer, name="served", digest="d", **options):
        with running(ScoringServer("127.0.0.1", 0, Served(name, digest, scorer, **options))) as url:
            yield url

    return start


@pytest.fixture
def rft_serve():
    """`rft serve-rewards` as a process; yields it and the address that it prints."""

    @contextmanager
    def start(*arguments, **options):
        command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", "serve-rewards", *arguments, "--port", "0"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, **options) as process:
            try:
                line = process.stdout.readline()
                yield process, next((word for word in line.split() if word.startswith("http")), line)
            finally:
                process.kill()

    return start
