import json
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from reward_finetuning.config import ArtifactError, UserError
from reward_finetuning.config.sections.model import LoraConfig, ModelConfig
from reward_finetuning.config.sections.sampling import SamplingConfig
from reward_finetuning.policy.load import load_policy
from reward_finetuning.policy.pretrained.built_in import BUILT_IN
from reward_finetuning.policy.pretrained.source import check_model, model_digest, model_digests
from reward_finetuning.policy.sampling import draw_micro_batch
from reward_finetuning.policy.save import load_tensors, restore_weights, save_tensors
from reward_finetuning.records import Prompt, Sample, Stream

SAMPLING = SamplingConfig(num_steps=3, guidance_scale=3.0, micro_batch_size=4)
LORA = ModelConfig(trainable="lora", lora=LoraConfig(rank=2, alpha=2))


@pytest.fixture
def folder(tmp_path):
    return shutil.copytree(BUILT_IN, tmp_path / "model")


def edit(path, **changes):
    path.write_text(json.dumps(json.loads(path.read_text()) | changes))


def inputs(policy):
    g = torch.Generator().manual_seed(0)
    return (
        torch.randn(2, *policy.latent_shape, generator=g),
        torch.tensor([1, 501]),
        policy.encode(["a red circle"] * 2),
    )


def test_guidance_is_the_formula(monkeypatch):
    policy = load_policy(ModelConfig(), SAMPLING, seed=0)
    x, t, prompts = inputs(policy)
    with torch.no_grad():
        cond = policy.network(x, t, prompts.embeddings).sample
        uncond = policy.network(x, t, policy.encode([""] * 2).embeddings).sample

        guided = policy.denoiser()(x, t, prompts)

    torch.testing.assert_close(guided, uncond + 3.0 * (cond - uncond), rtol=1e-4, atol=1e-4)


def test_a_guidance_of_one_is_the_conditional_branch_alone():
    policy = load_policy(ModelConfig(), SAMPLING.model_copy(update={"guidance_scale": 1.0}), seed=0)
    x, t, prompts = inputs(policy)

    with torch.no_grad():
        assert torch.equal(policy.denoiser()(x, t, prompts), policy.network(x, t, prompts.embeddings).sample)


@pytest.mark.slow
def test_the_gradient_of_the_unconditional_branch_can_be_left_out():
    policy = load_policy(ModelConfig(), SAMPLING, seed=0)
    x, t, prompts = inputs(policy)
    gradients = []
    for uncond_gradient in (True, False):
        policy.denoiser(uncond_gradient=uncond_gradient)(x, t, prompts).sum().backward()
        gradients.append(torch.cat([w.grad.flatten() for w in policy.trainable().values()]))
        policy.network.zero_grad()

    assert not torch.allclose(*gradients)


def test_full_finetuning_can_change_every_unet_weight_and_nothing_else():
    policy = load_policy(ModelConfig(), SAMPLING, seed=0)

    assert policy.trainable().keys() == dict(policy.network.named_parameters()).keys()
    for frozen in (policy.pipeline.vae, policy.pipeline.text_encoder):
        assert not any(weight.requires_grad for weight in frozen.parameters())


def test_lora_trains_adapters_alone_and_without_them_is_the_untouched_base():
    base, policy = load_policy(ModelConfig(), SAMPLING, seed=0), load_policy(LORA, SAMPLING, seed=0)
    x, t, prompts = inputs(base)
    with torch.no_grad():
        for weight in policy.trainable().values():
            weight.add_(0.1)

        plain, tuned, off = (
            d(x, t, prompts) for d in (base.denoiser(), policy.denoiser(), policy.reference_denoiser())
        )

    assert policy.trainable()
    assert all("lora" in name for name in policy.trainable())
    assert torch.equal(plain, off)
    assert not torch.allclose(plain, tuned)


def test_the_reference_of_full_finetuning_stays_when_the_policy_moves():
    policy = load_policy(ModelConfig(), SAMPLING, seed=0)
    policy.keep_reference()
    x, t, prompts = inputs(policy)
    with torch.no_grad():
        before = policy.denoiser()(x, t, prompts)
        for weight in policy.trainable().values():
            weight.add_(0.01)

        assert torch.equal(policy.reference_denoiser()(x, t, prompts), before)
        assert not torch.allclose(policy.denoiser()(x, t, prompts), before)


def test_adapters_start_from_the_runs_seed_and_leave_the_global_generator_alone():
    torch.manual_seed(7)
    expected = torch.rand(1)
    torch.manual_seed(7)

    first, second, other = (load_policy(LORA, SAMPLING, seed=seed).trainable() for seed in (1, 1, 2))

    assert torch.equal(torch.rand(1), expected)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_an_image_has_the_same_bits_in_a_whole_and_in_a_padded_micro_batch():
    policy = load_policy(ModelConfig(), SAMPLING, seed=0)
    samples = [Sample(i, Prompt(f"p{i}", "a red circle"), 0) for i in range(4)]

    def draw(members):
        return draw_micro_batch(policy, members, SAMPLING, denoise_ref=None, seed=0, stream=Stream.TRAINING, epoch=1)

    whole, pictures = draw(samples)
    part, few = draw(samples[:2])

    assert torch.equal(whole.latents[:2], part.latents)
    assert torch.equal(whole.log_probs[:2], part.log_probs)
    assert (pictures[:2] == few).all()


def test_weights_go_to_disk_and_back_bit_for_bit(tmp_path):
    policy = load_policy(LORA, SAMPLING, seed=3)
    other = load_policy(LORA, SAMPLING, seed=4)

    first = save_tensors(policy.trainable(), tmp_path / "a.safetensors")
    restore_weights(other.trainable(), load_tensors(tmp_path / "a.safetensors"), tmp_path / "a.safetensors")

    assert save_tensors(other.trainable(), tmp_path / "b.safetensors") == first


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t.popitem(), "lacks 1 weights of the policy, first"),
        (lambda t: t.update(foreign=torch.zeros(1)), "holds 1 weights the policy does not have, first foreign"),
        (lambda t: t.update({next(iter(t)): torch.zeros(1)}), r"is \[1\] torch.float32; the policy's is"),
        (lambda t: t.update({k: v.half() for k, v in t.items()}), r"torch.float16; the policy's is .* torch.float32"),
    ],
)
def test_weights_that_do_not_fit_are_named(tmp_path, change, message):
    policy = load_policy(LORA, SAMPLING, seed=0)
    tensors = dict(policy.trainable())
    change(tensors)

    with pytest.raises(ArtifactError, match=message):
        restore_weights(policy.trainable(), tensors, tmp_path / "w.safetensors")


def test_a_truncated_weights_file_is_named(tmp_path):
    path = tmp_path / "w.safetensors"
    save_tensors({"a": torch.zeros(100)}, path)
    path.write_bytes(path.read_bytes()[:-10])

    with pytest.raises(ArtifactError, match=r"w.safetensors is no whole safetensors file"):
        load_tensors(path)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda f: (f / "model_index.json").unlink(), "is no pipeline: it has no model_index.json"),
        (lambda f: edit(f / "model_index.json", _class_name="PixArtAlphaPipeline"), "holds a PixArtAlphaPipeline"),
        (lambda f: shutil.rmtree(f / "vae"), "is no whole pipeline: vae missing"),
        (lambda f: edit(f / "scheduler" / "scheduler_config.json", prediction_type="sample"), "predicts 'sample'"),
        (lambda f: edit(f / "scheduler" / "scheduler_config.json", rescale_betas_zero_snr=True), "zero terminal SNR"),
        (lambda f: edit(f / "scheduler" / "scheduler_config.json", trained_betas=[0.1]), "trained_betas"),
        (
            lambda f: edit(f / "model_index.json", text_encoder=[None, None]),
            r"without text_encoder \(a refiner\?\), which is needed",
        ),
        (lambda f: edit(f / "scheduler" / "scheduler_config.json", beta_schedule="cosine"), "'cosine'"),
        (
            lambda f: (f / "scheduler" / "scheduler_config.json").write_text("{"),
            "scheduler_config.json is missing or no JSON",
        ),
    ],
)
def test_a_folder_that_is_no_pipeline_is_refused_before_it_is_loaded(folder, damage, message):
    damage(folder)

    with pytest.raises(UserError, match=message):
        check_model(ModelConfig(source=str(folder)), SAMPLING)


def test_a_source_that_is_nothing_is_named():
    with pytest.raises(UserError, match=r"'\./nowhere' is no folder, no file and no hub id"):
        check_model(ModelConfig(source="./nowhere"), SAMPLING)


@pytest.mark.parametrize("change", [{"set_alpha_to_one": True}, {"steps_offset": 0}])
def test_the_models_own_scheduler_is_refused_where_its_last_step_has_no_variance(folder, change):
    edit(folder / "scheduler" / "scheduler_config.json", **change)
    model = ModelConfig(source=str(folder))

    check_model(model, SAMPLING)  # our own grid does not care
    with pytest.raises(
        UserError, match=r"scheduler=from_model: sigma of step 3 of 3 .* below the floor sampling.min_std"
    ):
        check_model(model, SAMPLING.model_copy(update={"scheduler": "from_model"}))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"use_karras_sigmas": True}, "has use_karras_sigmas"),
        ({"timestep_spacing": "other"}, "'other', which is not supported"),
    ],
)
def test_a_grid_of_the_models_scheduler_that_is_not_known_is_refused(folder, change, message):
    edit(folder / "scheduler" / "scheduler_config.json", **change)

    check_model(ModelConfig(source=str(folder)), SAMPLING)
    with pytest.raises(UserError, match=message):
        check_model(ModelConfig(source=str(folder)), SAMPLING.model_copy(update={"scheduler": "from_model"}))


@pytest.mark.parametrize("revision", [None, "main"])
def test_a_hub_id_needs_a_commit(revision):
    with pytest.raises(UserError, match=r"a hub id needs model.revision, the commit of 40 hex digits"):
        check_model(ModelConfig(source="owner/model", revision=revision), SAMPLING)


def test_the_commit_of_a_well_known_model_is_known_and_its_identity():
    model = ModelConfig(source="CompVis/stable-diffusion-v1-4")

    check_model(model, SAMPLING)
    assert model_digest(model) == "CompVis/stable-diffusion-v1-4@133a221b8aa7292a167afc5127cb63fb5005638b"


def test_the_digest_follows_the_weights_and_not_the_folders_name(folder, tmp_path):
    same = shutil.copytree(folder, tmp_path / "copy")
    digest = model_digest(ModelConfig(source=str(folder)))

    assert model_digest(ModelConfig(source=str(same))) == digest == model_digest(ModelConfig())
    with (same / "unet" / "diffusion_pytorch_model.safetensors").open("r+b") as file:
        file.seek(-1, 2)
        file.write(b"\x01")
    assert model_digest(ModelConfig(source=str(same))) != digest


def test_the_weights_are_read_once_a_process_for_as_long_as_no_file_changes(folder, monkeypatch):
    model, opened = ModelConfig(source=str(folder)), []
    open_path = Path.open
    monkeypatch.setattr(
        Path, "open", lambda path, *args, **named: opened.append(path.suffix) or open_path(path, *args, **named)
    )
    digests, readings = [], []
    for _ in range(2):
        digests.append(model_digest(model))
        readings.append(opened.count(".safetensors"))
    (folder / "unet" / "config.json").touch()

    digests.append(model_digest(model))

    assert len({*digests}) == 1
    assert readings[0] == readings[1] == 3
    assert opened.count(".safetensors") == 6


@pytest.mark.parametrize("part", ["unet", "vae", "text_encoder", "tokenizer", "scheduler"])
def test_the_digest_covers_the_files_of_a_linked_component_folder(folder, tmp_path, part):
    plain = model_digest(ModelConfig(source=str(folder)))
    shared = shutil.move(folder / part, tmp_path / f"shared-{part}")
    (folder / part).symlink_to(shared)

    linked = model_digest(ModelConfig(source=str(folder)))
    file = max((path for path in Path(shared).iterdir() if path.is_file()), key=lambda path: path.stat().st_size)
    file.write_bytes(file.read_bytes()[:-1] + b" ")

    assert linked == plain  # a link is a way to the same bytes
    assert model_digest(ModelConfig(source=str(folder))) != plain


def test_the_fingerprint_covers_model_index_json_which_names_the_classes_of_the_parts(folder):
    before = model_digests(ModelConfig(source=str(folder)))
    index = folder / "model_index.json"
    index.write_text(index.read_text().replace("DDIMScheduler", "EulerDiscreteScheduler"))

    after = model_digests(ModelConfig(source=str(folder)))

    assert after["model.index"] != before["model.index"]
    assert after["model.digest"] == before["model.digest"]


def test_two_prompts_that_are_one_embedding_for_their_length_are_said(capsys):
    policy = load_policy(ModelConfig(), SAMPLING, seed=0)
    limit = policy.pipeline.tokenizer.model_max_length
    long = " ".join(["a red circle"] * limit)

    first, second, short = policy.encode([f"{long} above", f"{long} below", "a red circle"]).embeddings

    assert torch.equal(first, second)
    one, two = capsys.readouterr().out.splitlines()
    assert one.startswith("warning: prompt 'a red circle")
    assert re.search(rf"is cut after {limit} of its \d+ tokens, which is all that the text encoder reads$", one)
    assert two.endswith(", and is the same as another prompt to the model, which differs only after that")
    assert not torch.equal(first, short)


def test_of_very_many_prompts_that_are_cut_a_few_are_said(capsys):
    policy = load_policy(ModelConfig(), SAMPLING, seed=0)
    long = " ".join(["a red circle"] * 50)

    policy.encode([f"{n} {long}" for n in range(20)])
    policy.encode([f"{n} {long}" for n in range(20)])

    assert len(capsys.readouterr().out.splitlines()) == 5


def test_targets_that_no_module_has_are_named():
    with pytest.raises(UserError, match=r"model.lora.targets \['nothing'\]"):
        load_policy(ModelConfig(trainable="lora", lora=LoraConfig(targets=("nothing",))), SAMPLING, seed=0)


@pytest.mark.slow
def test_loading_a_model_in_a_new_process_prints_no_warning():
    program = """
import warnings
warnings.simplefilter("always")
from reward_finetuning.config import RunConfig
from reward_finetuning.policy.load import load_policy
config = RunConfig(name="a")
load_policy(config.model, config.sampling, seed=0)
"""

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    assert "Warning" not in done.stderr
    assert "torchvision" not in done.stderr


def channels_last(policy):
    """Whether the convolutions of the UNet and of the VAE have the channels last in memory."""
    weights = policy.network.conv_in.weight, policy.pipeline.vae.decoder.conv_in.weight
    (answer,) = {weight.is_contiguous(memory_format=torch.channels_last) for weight in weights}
    return answer


@pytest.mark.parametrize(
    ("model", "shards", "expected"),
    [({}, False, True), ({}, True, False), ({"compile": True}, False, True), ({"channels_last": False}, False, False)],
)
def test_on_a_cpu_channels_are_last_unless_the_network_is_compiled_or_sharded(model, shards, expected):
    assert channels_last(load_policy(ModelConfig(**model, device="cpu"), SAMPLING, seed=0, shards=shards)) is expected


def test_channels_last_changes_the_order_in_memory_of_convolutions_and_not_what_is_saved(tmp_path):
    plain, last = (
        load_policy(ModelConfig(channels_last=enabled, device="cpu"), SAMPLING, seed=0) for enabled in (False, True)
    )
    last.keep_reference()

    with torch.no_grad():
        expected, given, reference = (
            denoise(*inputs(plain)) for denoise in (plain.denoiser(), last.denoiser(), last.reference_denoiser())
        )
    digests = [save_tensors(policy.trainable(), tmp_path / "weights") for policy in (plain, last)]

    assert channels_last(last)
    torch.testing.assert_close(given, expected, rtol=1e-4, atol=1e-4)
    assert torch.equal(given, reference)
    assert digests[0] == digests[1]
