"""HPSv3's files with small random weights: the layout of the published checkpoint, without torch and transformers."""

import json

import numpy as np
from safetensors.numpy import save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

INSTRUCTION = "\nHow well does it show {text_prompt}?\n"
QUESTION = "\nThe score: <|Reward|>\n\nEND\n"
SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|vision_start|>", "<|vision_end|>", "<|image_pad|>"]
TOKENS = 256 + len(SPECIAL) + 1
HIDDEN, FEED_FORWARD, VISION = 64, 96, 32
CONFIG = {
    "model_type": "qwen2_vl",
    "hidden_size": HIDDEN,
    "intermediate_size": FEED_FORWARD,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "num_hidden_layers": 2,
    "rms_norm_eps": 1e-6,
    "rope_theta": 1e6,
    "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
    "hidden_act": "silu",
    "tie_word_embeddings": False,
    "vocab_size": TOKENS + 5,  # the published config has more tokens than the checkpoint, too
    "vision_start_token_id": 259,
    "vision_end_token_id": 260,
    "image_token_id": 261,
    "vision_config": {"depth": 2, "embed_dim": VISION, "hidden_size": HIDDEN, "mlp_ratio": 4, "num_heads": 2},
}


def write(folder):
    rng = np.random.default_rng(3)
    state = {name: rng.normal(0, 0.3, shape).astype(np.float32) for name, shape in shapes().items()}
    state |= {name: 1 + value / 3 for name, value in state.items() if "norm" in name and name.endswith("weight")}
    save_file(state, folder / "HPSv3.safetensors")
    (folder / "config.json").write_text(json.dumps(CONFIG))
    units = sorted(pre_tokenizers.ByteLevel.alphabet())
    tokenizer = Tokenizer(models.BPE({unit: number for number, unit in enumerate(units)}, []))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.decoder = decoders.ByteLevel()
    tokenizer.add_special_tokens(SPECIAL)
    tokenizer.save(str(folder / "tokenizer.json"))
    module = f"INSTRUCTION = {INSTRUCTION!r}\nprompt_with_special_token = {QUESTION!r}\n"
    (folder / "data_collator_qwen.py").write_text(module)
    return folder


def shapes():
    """Name -> shape of every tensor."""
    linear = {"visual.merger.mlp.0": (4 * VISION, 4 * VISION), "visual.merger.mlp.2": (HIDDEN, 4 * VISION)}
    linear |= {"visual.merger.ln_q": (VISION,)}
    for number in range(2):
        block = f"visual.blocks.{number}."
        linear |= {f"{block}norm1": (VISION,), f"{block}norm2": (VISION,)}
        linear |= {f"{block}attn.qkv": (3 * VISION, VISION), f"{block}attn.proj": (VISION, VISION)}
        linear |= {f"{block}mlp.fc1": (4 * VISION, VISION), f"{block}mlp.fc2": (VISION, 4 * VISION)}
        layer = f"model.layers.{number}.self_attn."
        linear |= {f"{layer}q_proj": (HIDDEN, HIDDEN)}
        linear |= {f"{layer}{name}": (HIDDEN // 2, HIDDEN) for name in ("k_proj", "v_proj")}
    linear |= {"rm_head.0": (1024, HIDDEN), "rm_head.3": (16, 1024), "rm_head.5": (2, 16)}
    result = {"visual.patch_embed.proj.weight": (VISION, 3, 2, 14, 14), "model.norm.weight": (HIDDEN,)}
    result |= {"model.embed_tokens.weight": (TOKENS, HIDDEN), "lm_head.weight": (TOKENS, HIDDEN)}
    for number in range(2):
        layer = f"model.layers.{number}."
        result |= {f"{layer}self_attn.o_proj.weight": (HIDDEN, HIDDEN)}
        result |= {f"{layer}mlp.{name}_proj.weight": (FEED_FORWARD, HIDDEN) for name in ("gate", "up")}
        result |= {f"{layer}mlp.down_proj.weight": (HIDDEN, FEED_FORWARD)}
        result |= {f"{layer}{name}_layernorm.weight": (HIDDEN,) for name in ("input", "post_attention")}
    for name, shape in linear.items():
        result |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return result
