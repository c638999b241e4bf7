import json
import shutil

import pytest

from reward_finetuning.config import RunConfig, UserError
from reward_finetuning.pipelines.cli.app import app
from reward_finetuning.pipelines.estimate.cost import estimate
from reward_finetuning.pipelines.estimate.networks import ACCELERATORS, NETWORKS, UTILISATION
from reward_finetuning.policy.pretrained.built_in import BUILT_IN

SD = {"source": "CompVis/stable-diffusion-v1-4"}
STEP = 2 * NETWORKS["sd1"].flops(64 * 64)
H100 = ACCELERATORS["h100"]


def run(tmp_path, **changes):
    """One prompt x 4 images x 10 steps, evaluated on one prompt x 1 image before and after."""
    (tmp_path / "one.txt").write_text("a cat\n", encoding="utf-8")
    tree = {
        "name": "cost",
        "model": SD,
        "prompts": {"train": "animals", "prompts_per_epoch": 1},
        "sampling": {"num_steps": 10, "guidance_scale": 5.0, "images_per_prompt": 4, "micro_batch_size": 4},
        "reward": {"weights": {"colourfulness": 1.0}},
        "training": {"cells_per_batch": 1},
        "loop": {"epochs": 1, "evaluate_every": 1},
        "evaluation": {"prompt_sets": {"one": str(tmp_path / "one.txt")}, "images_per_prompt": 1},
    }
    return RunConfig.model_validate({**tree, **changes})


def decoded(images):
    linear, quadratic = NETWORKS["sd1"].decoding
    return images * (linear * 64**2 + quadratic * 64**4)


def test_a_small_run_by_hand(tmp_path):
    found = estimate(run(tmp_path), H100)

    roles = {role: cost.flops for role, cost in found.roles.items()}
    assert roles["sample"] == pytest.approx(4 * 10 * STEP + decoded(4))  # the reference is the policy in epoch 1
    assert roles["train"] == pytest.approx(3 * 4 * 10 * STEP)  # forward, backward twice
    assert roles["evaluate"] == pytest.approx(2 * 10 * STEP + decoded(2))
    assert found.hours == pytest.approx(sum(roles.values()) / (67e12 * UTILISATION["float32"]) / 3600)


@pytest.mark.parametrize(
    ("changes", "more"),
    [
        (
            {"training": {"cells_per_batch": 1, "updates_per_epoch": 3}},
            (3 * 3 + 2) * 40,
        ),  # pass 1 but for the first update
        (
            {
                "objective": {"name": "ddpo"},
                "training": {"cells_per_batch": 1, "updates_per_epoch": 3},
            },
            3 * 3 * 40,
        ),
        (  # a batch that holds the 40 cells of a prompt
            {"training": {"cells_per_batch": 40, "updates_per_epoch": 3}},
            3 * 3 * 40,
        ),
        ({"model": SD | {"trainable": "lora"}}, 2 * 40),
        ({"training": {"cells_per_batch": 1, "uncond_gradient": False}}, 2 * 40),
        ({"training": {"cells_per_batch": 1, "old_log_probs": "replay"}}, 4 * 40),
        ({"objective": {"name": "dpok"}}, 4 * 40),
        ({"objective": {"name": "rwr"}}, 3 * 40 / 2),  # one branch
        ({"objective": {"name": "ppod", "pairs_per_update": 1, "convergence": None}}, 3 * 20),
    ],
)
def test_what_training_evaluates_follows_the_method(tmp_path, changes, more):
    assert estimate(run(tmp_path, **changes), H100).roles["train"].flops == pytest.approx(more * STEP, rel=1e-6)


def test_an_offline_run_draws_once_and_an_online_one_every_epoch_with_the_reference(tmp_path):
    sampling = {"num_steps": 10, "guidance_scale": 5.0, "images_per_prompt": 4, "micro_batch_size": 4}
    loop = {"epochs": 3, "evaluate_every": 3}
    online = estimate(run(tmp_path, loop=loop), H100).roles["sample"].flops
    offline = (
        estimate(run(tmp_path, loop=loop, sampling=sampling | {"rollouts": "offline"}), H100).roles["sample"].flops
    )

    assert offline == pytest.approx(40 * STEP + decoded(4))
    assert online == pytest.approx((3 + 2) * 40 * STEP + decoded(12))


def test_the_published_speed_of_ddpo_is_what_half_precision_is_taken_from(tmp_path):
    sampling = {"num_steps": 50, "guidance_scale": 5.0, "images_per_prompt": 256, "micro_batch_size": 4}
    ddpo = run(
        tmp_path, model=SD | {"trainable": "lora", "dtype": "float16"}, objective={"name": "ddpo"}, sampling=sampling
    )
    roles = estimate(ddpo, ACCELERATORS["a100-80gb"]).roles

    seconds = 3600 * (roles["sample"].hours + roles["train"].hours)
    assert 256 / seconds == pytest.approx(0.22, rel=0.1)


def test_memory_grows_with_the_cells_of_a_batch_and_lora_takes_less(tmp_path):
    def train(**changes):
        return estimate(run(tmp_path, **changes), H100).roles["train"].memory

    few, many = (train(training={"cells_per_batch": cells}) for cells in (8, 16))
    assert many - few == pytest.approx(8 * 2 * 456_384 * 64**2 / 1e9)
    assert train(training={"cells_per_batch": 8}, model=SD | {"trainable": "lora"}) < few


def test_an_unknown_model_is_refused(tmp_path):
    model = shutil.copytree(BUILT_IN, tmp_path / "model")
    config = json.loads((model / "unet" / "config.json").read_text())
    (model / "unet" / "config.json").write_text(json.dumps(config | {"cross_attention_dim": 49}))

    with pytest.raises(UserError, match=r"supports Stable Diffusion 1.x to 3.5, FLUX.1 and the built-in models"):
        estimate(run(tmp_path, model={"source": str(model)}), H100)


def test_the_built_in_model_is_costed_by_what_torch_counts_on_it(tmp_path):
    import torch
    from diffusers import AutoencoderKL, UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    with torch.device("meta"), torch.no_grad():
        unet = UNet2DConditionModel.from_config(UNet2DConditionModel.load_config(BUILT_IN / "unet"))
        vae = AutoencoderKL.from_config(AutoencoderKL.load_config(BUILT_IN / "vae"))
        with FlopCounterMode(display=False) as one_step:
            unet(torch.empty(1, 4, 8, 8), torch.empty(1), encoder_hidden_states=torch.empty(1, 16, 48))
        with FlopCounterMode(display=False) as decoding:
            vae.decode(torch.empty(1, 4, 8, 8))

    sampled = estimate(run(tmp_path, model={"source": "shapes"}), H100).roles["sample"].flops
    by_hand = 4 * 10 * 2 * one_step.get_total_flops() + 4 * decoding.get_total_flops()
    assert sampled == pytest.approx(by_hand, rel=1e-6)
    assert sum(weight.numel() for weight in unet.parameters()) == NETWORKS["shapes"].parameters


@pytest.mark.parametrize(
    "name", ["prdp-small-scale", "prdp-large-scale", "prdp-multi-reward", "ppod-online", "ppod-offline"]
)
def test_every_run_file_of_the_papers_is_costed_and_fits_80_gb(name):
    from pathlib import Path

    from reward_finetuning.config import load_config

    config = load_config(Path(__file__).parents[3] / "pipelines" / "runs" / f"{name}.yaml")
    found = estimate(config, ACCELERATORS["a100-80gb"])

    assert found.roles["train"].memory < 80
    assert found.hours > 100


def test_the_command_prints_roles_and_assumptions():
    from typer.testing import CliRunner

    result = CliRunner().invoke(app, ["estimate", "pipelines/runs/prdp-small-scale.yaml", "--accelerator", "h100"])

    assert result.exit_code == 0, result.output
    for part in (
        "GPU hours",
        "sample",
        "reward",
        "train",
        "evaluate",
        "0.803 TFLOP",
        "60% of the peak of the accelerator",
    ):
        assert part in result.output


@pytest.mark.slow
@pytest.mark.parametrize("family", ["sd1", "sd2", "sdxl"])
def test_the_networks_costs_are_those_that_torch_counts_on_the_real_architectures(family):
    import torch
    from diffusers import UNet2DConditionModel
    from torch.utils.flop_counter import FlopCounterMode

    width = {"sd1": 768, "sd2": 1024, "sdxl": 2048}[family]
    settings = {"attention_head_dim": 8} if family == "sd1" else {"use_linear_projection": True}
    extra = {}
    if family == "sd2":
        settings["attention_head_dim"] = [5, 10, 20, 20]
    if family == "sdxl":
        settings |= {
            "block_out_channels": (320, 640, 1280),
            "down_block_types": ("DownBlock2D", "CrossAttnDownBlock2D", "CrossAttnDownBlock2D"),
            "up_block_types": ("CrossAttnUpBlock2D", "CrossAttnUpBlock2D", "UpBlock2D"),
            "attention_head_dim": [5, 10, 20],
            "transformer_layers_per_block": [1, 2, 10],
            "addition_embed_type": "text_time",
            "addition_time_embed_dim": 256,
            "projection_class_embeddings_input_dim": 2816,
        }
        extra = {"added_cond_kwargs": {"text_embeds": torch.empty(1, 1280), "time_ids": torch.empty(1, 6)}}
    with torch.device("meta"), torch.no_grad():
        unet = UNet2DConditionModel(cross_attention_dim=width, **settings)
        extra = {key: {k: v.to("meta") for k, v in value.items()} for key, value in extra.items()}
        with FlopCounterMode(display=False) as counted:
            unet(torch.empty(1, 4, 48, 64), torch.empty(1), encoder_hidden_states=torch.empty(1, 77, width), **extra)

    network = NETWORKS[family]
    assert sum(weight.numel() for weight in unet.parameters()) == network.parameters
    assert counted.get_total_flops() == pytest.approx(network.flops(48 * 64), rel=1e-6)


TRANSFORMERS = {
    "sd3": {"num_layers": 24, "num_attention_heads": 24, "caption_projection_dim": 1536, "pos_embed_max_size": 192},
    "sd3.5-medium": {
        "num_layers": 24,
        "num_attention_heads": 24,
        "caption_projection_dim": 1536,
        "pos_embed_max_size": 384,
        "qk_norm": "rms_norm",
        "dual_attention_layers": tuple(range(13)),
    },
    "flux": {"guidance_embeds": True},
    "shapes-flow": {},
}


@pytest.mark.slow
@pytest.mark.parametrize("family", TRANSFORMERS)
def test_the_transformers_costs_are_those_that_torch_counts_on_the_real_architectures(family):
    import torch
    from diffusers import FluxTransformer2DModel, SD3Transformer2DModel
    from torch.utils.flop_counter import FlopCounterMode

    from reward_finetuning.shapes.flow import build_transformer

    cells = 8 * 16 if family == "shapes-flow" else 48 * 64  # its positions end at 16 x 16
    with torch.device("meta"), torch.no_grad():
        if family == "flux":
            transformer = FluxTransformer2DModel(**TRANSFORMERS[family])
            tokens, text = torch.empty(1, 24 * 32, 64), torch.empty(1, 512, 4096)
            ids = {"img_ids": torch.empty(24 * 32, 3), "txt_ids": torch.empty(512, 3), "guidance": torch.empty(1)}
            pooled = torch.empty(1, 768)
        elif family == "shapes-flow":
            transformer, ids = build_transformer(), {}
            tokens, text, pooled = torch.empty(1, 4, 8, 16), torch.empty(1, 17, 80), torch.empty(1, 80)
        else:
            transformer = SD3Transformer2DModel(
                sample_size=128, patch_size=2, in_channels=16, out_channels=16, attention_head_dim=64,
                joint_attention_dim=4096, pooled_projection_dim=2048, **TRANSFORMERS[family],
            )  # fmt: skip
            tokens, text, ids, pooled = torch.empty(1, 16, 48, 64), torch.empty(1, 333, 4096), {}, torch.empty(1, 2048)
        with FlopCounterMode(display=False) as counted:
            transformer(tokens, text, pooled, torch.empty(1), **ids)

    network = NETWORKS[family]
    assert sum(weight.numel() for weight in transformer.parameters()) == network.parameters
    blocks = [child for child in transformer.children() if isinstance(child, torch.nn.ModuleList)]
    linear = [layer for block in blocks for layer in block.modules() if isinstance(layer, torch.nn.Linear)]
    assert sum(layer.weight.numel() for layer in linear) == network.quantized_parameters
    assert counted.get_total_flops() == pytest.approx(network.flops(cells), rel=1e-6)


def test_the_built_in_flow_model_has_no_t5_that_could_be_left_out():
    from reward_finetuning.config import load_config
    from reward_finetuning.pipelines.cli.run_files import packaged

    found = estimate(load_config(packaged()["shapes-flow-prdp"]), H100)

    assert all(0 < role.memory < 5 for role in found.roles.values())


@pytest.mark.parametrize(
    ("name", "memory"), [("sd35-medium-prdp", 40), ("sd35-medium-prdp-geneval-like", 40), ("flux-dev-prdp", 80)]
)
def test_the_run_files_of_flow_models_are_costed_and_fit(name, memory):
    from pathlib import Path

    from reward_finetuning.config import load_config

    config = load_config(Path(__file__).parents[3] / "pipelines" / "runs" / f"{name}.yaml")
    found = estimate(config, H100)

    assert found.roles["train"].memory < memory
    assert found.roles["evaluate"].flops > 0


def test_8_bit_adamw_saves_six_bytes_per_trained_weight(tmp_path):
    def cost(optimizer):
        return estimate(run(tmp_path, training={"optimizer": optimizer}), H100)

    exact, saving = cost("adamw"), cost("adamw_8bit")

    saved = 6e-9 * NETWORKS["sd1"].parameters
    assert exact.roles["train"].memory - saving.roles["train"].memory == pytest.approx(saved)
    assert exact.disk > saving.disk
    assert exact.hours == saving.hours


def test_8_bit_weights_of_the_base_take_half_of_those_in_bfloat16(tmp_path):
    def memory(quantization):
        model = {"source": "black-forest-labs/FLUX.1-dev", "trainable": "lora", "dtype": "bfloat16"}
        config = run(tmp_path, model=model | {"quantization": quantization})
        return {name: role.memory for name, role in estimate(config, H100).roles.items()}

    plain, quantized = memory("none"), memory("int8")

    saved = NETWORKS["flux"].quantized_parameters / 1e9
    assert 0.49 * NETWORKS["flux"].parameters * 2 / 1e9 < saved
    for role in ("sample", "train", "evaluate"):
        assert plain[role] - quantized[role] == pytest.approx(saved)


def test_guidance_as_an_input_costs_no_second_branch_and_checkpointing_costs_a_forward_pass_and_saves_memory(tmp_path):
    def cost(**changes):
        model = {"source": "black-forest-labs/FLUX.1-dev", "trainable": "lora"}
        training = {"cells_per_batch": 1} | changes
        return estimate(run(tmp_path, model=model, training=training), H100).roles

    plain, checkpointed = cost(), cost(gradient_checkpointing=True)

    step = NETWORKS["flux"].flops(128 * 128)
    assert plain["train"].flops == pytest.approx(2 * 40 * step)
    assert checkpointed["train"].flops == pytest.approx(3 * 40 * step)
    assert checkpointed["train"].memory < plain["train"].memory


def test_offloaded_encoders_are_not_in_memory_beside_a_batch(tmp_path):
    def memory(*, offload):
        model = {"source": "black-forest-labs/FLUX.1-dev", "trainable": "lora", "dtype": "bfloat16"}
        training = {"cells_per_batch": 1, "gradient_checkpointing": True}
        settings = {"model": model | {"offload": offload}, "training": training}
        return {name: role.memory for name, role in estimate(run(tmp_path, **settings), H100).roles.items()}

    beside, away = memory(offload=False), memory(offload=True)

    assert away["reward"] == beside["reward"]
    assert all(away[role] < beside[role] for role in ("sample", "train", "evaluate"))
    assert away["train"] > NETWORKS["flux"].parameters * 2 / 1e9
