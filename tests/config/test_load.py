from pathlib import Path

import pytest

from reward_finetuning.config import RunConfig, UserError, load_config, parse_config

RUNS = Path(__file__).parents[2] / "pipelines" / "runs"


def write(tmp_path, text):
    path = tmp_path / "run.yaml"
    path.write_text(text, encoding="utf-8")
    return path


@pytest.mark.parametrize("path", sorted(RUNS.glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_run_file_is_valid_and_named_after_its_file(path):
    assert load_config(path).name == path.stem


def test_overrides_win_and_are_read_as_yaml(tmp_path):
    path = write(tmp_path, "name: a\nsampling: {num_steps: 5}\n")

    config = load_config(path, ["sampling.num_steps=7", "training.learning_rate=1.0e-3", "model.revision=null"])

    assert config.sampling.num_steps == 7
    assert config.training.learning_rate == 1e-3
    assert config.model.revision is None


@pytest.mark.parametrize(
    ("text", "override", "message"),
    [
        ("name: a\nsampling: {num_stpes: 5}\n", [], r"unknown key 'sampling.num_stpes'; did you mean 'num_steps'"),
        ("name: a\nfoo: 1\n", [], r"unknown key 'foo'"),
        ("name: a\nreward: {scorers: {a: {dtpye: 1}}}\n", [], r"'reward.scorers.a.dtpye'; did you mean 'dtype'"),
        ("name: a\nsampling: {num_steps: 0}\n", [], r"sampling.num_steps: .*greater than or equal to 1, got 0"),
        ("name: a\nsampling: {images_per_prompt: 1}\n", [], r"images_per_prompt must be at least 2, got 1"),
        ("name: a\nsampling: {ddim_eta: 0}\n", [], r"sampling.ddim_eta: .*greater than 0, got 0"),
        ("name: ../a\n", [], r"name: string should match pattern"),
        ("seed: 1\n", [], r"name: field required"),
        ("name: a\nreward: {weights: {shapes: 0}}\n", [], r"at least one weight must differ from 0"),
        ("name: a\nloop: {num_shards: 99}\n", [], r"loop.num_shards=99 but an epoch's 128 images are 16 micro-batches"),
        ("name: a\n", ["sampling"], r"written section.key=value, got 'sampling'"),
        ("name: a\n", ["name.first=b"], r"'name' holds a value, not a section"),
        ("- a\n", [], r"must hold a mapping"),
        ("name: [\n", [], r"no readable YAML"),
        ("name: a\nobjective: {name: ppo}\n", [], r"objective.name: choose from prdp, .*rwr, got 'ppo'"),
        (
            "name: a\nobjective: {name: ddpo, bufer_size: 3}\n",
            [],
            r"unknown key 'objective.bufer_size'; did.*'buffer_size'",
        ),
        (
            "name: a\nobjective: {name: ppod, loss: mse}\n",
            [],
            r"objective.loss: input should be 'cross_entropy', .*'mse'",
        ),
        (
            "name: a\nobjective: {name: ppod, convergence: {patince: 3}}\n",
            [],
            r"objective.convergence.patince'; .*'patience'",
        ),
        (
            "name: a\nobjective: {name: rwr}\nsampling: {images_per_prompt: 1}\n",
            [],
            r"rwr compares images of one prompt: .*images_per_prompt must be at least 2, got 1",
        ),
        (
            "name: a\nobjective: {name: ddpo, min_count: 9, buffer_size: 8}\n",
            [],
            r"objective.*: .*min_count=9 rewards of a prompt never fit into buffer_size=8",
        ),
        ("name: a\ntraining: {learning_rate: .nan}\n", [], r"training.learning_rate"),
        ("name: a\nsampling: {flow: {sampler: ode}}\n", [], r"ode is deterministic, .*use cps or sde"),
        (
            "name: a\nmodel: {trainable: lora}\ntraining: {sharding: fsdp}\n",
            [],
            r"sharding=fsdp shards trained weights.*model.trainable: full",
        ),
        (
            "name: a\nmodel: {trainable: full, quantization: int8}\n",
            [],
            r"quantization=int8 is for frozen weights, and trainable is full: set trainable: lora",
        ),
        (
            "name: a\nmodel: {trainable: lora, quantization: int8, compile: true}\n",
            [],
            r"quantization=int8 is not supported with compile.*set compile: false",
        ),
        (
            "name: a\nmodel: {trainable: full}\ntraining: {sharding: fsdp, optimizer: adamw_8bit}\n",
            [],
            r"optimizer=adamw_8bit has no moments that training.sharding=fsdp could shard",
        ),
        (
            "name: a\nmodel: {trainable: full, compile: true}\ntraining: {sharding: fsdp}\n",
            [],
            r"model.compile is not supported with training.sharding=fsdp.*set model.compile: false",
        ),
        (
            "name: a\nmodel: {trainable: full, channels_last: true}\ntraining: {sharding: fsdp}\n",
            [],
            r"model.channels_last is not supported with training.sharding=fsdp.*set model.channels_last: false",
        ),
        (
            "name: a\nmodel: {trainable: full, channels_last: true}\ntraining: {optimizer: adamw_8bit}\n",
            [],
            r"channels_last is not supported with training.optimizer=adamw_8bit.*set model.channels_last: false",
        ),
        ("name: a\nsampling: {flow: {window: [3, 2]}}\n", [], r"sampling.flow.window.*first < last, got \[3, 2\]"),
        ("name: a\nevaluation: {sampler: ode}\n", [], r"evaluation.*ode has no KL, .*set kl: false"),
    ],
)
def test_a_wrong_config_is_one_clear_message(tmp_path, text, override, message):
    with pytest.raises(UserError, match=message) as caught:
        load_config(write(tmp_path, text), override)

    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "objective", [{"name": "ddpo"}, {"name": "dpok"}, {"name": "rwr", "among": "epoch"}], ids=lambda each: each["name"]
)
def test_one_image_per_prompt_is_enough_for_what_compares_no_images_of_a_prompt(objective):
    config = RunConfig.model_validate({"name": "a", "objective": objective, "sampling": {"images_per_prompt": 1}})

    assert config.num_images == config.prompts.prompts_per_epoch


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UserError, match=r"no run file .*nothing.yaml"):
        load_config(tmp_path / "nothing.yaml")


def test_the_config_survives_its_journey_as_json_text():
    config = RunConfig(name="a", seed=2**53 - 1)

    assert parse_config(config.model_dump_json()) == config


def test_settings_that_change_no_number_are_not_in_the_fingerprint():
    plain = RunConfig(name="a")
    moved = RunConfig.model_validate(
        {
            "name": "b",
            "run_root": "elsewhere",
            "loop": {"epochs": 7, "num_shards": 2, "granularity": "split"},
            "tracking": {"experiment": "x"},
            "retention": {"rollouts": 5},
            "evaluation": {"images_per_prompt": 3},
            "model": {"lora": {"rank": 9}},  # without effect where every weight is trained
        }
    )

    assert plain.numbers() == moved.numbers()


@pytest.mark.parametrize(
    "change",
    [
        {"seed": 1},
        {"sampling": {"micro_batch_size": 4}},
        {"objective": {"clip_range": 0.5}},
        {"training": {"cells_per_batch": 5}},
        {"prompts": {"prompts_per_epoch": 3}},
        {"reward": {"weights": {"shapes": 2.0}}},
        {"model": {"trainable": "lora"}},
        {"model": {"t5": False}},
        {"model": {"compile": True}},
        {"model": {"channels_last": True}},
        {"model": {"tf32": True}},
        {"sampling": {"flow": {"eta": 0.5}}},
    ],
)
def test_settings_that_change_numbers_are_in_the_fingerprint(change):
    assert RunConfig(name="a").numbers() != RunConfig.model_validate({"name": "a", **change}).numbers()


@pytest.mark.parametrize(
    ("model", "training", "channels_last"),
    [
        ({}, {}, "auto"),
        ({}, {"optimizer": "adamw_8bit"}, False),
        ({"trainable": "full"}, {"sharding": "fsdp"}, False),
        ({"channels_last": True}, {}, True),
    ],
)
def test_channels_are_last_only_with_an_optimizer_and_sharding_that_keep_them_so(model, training, channels_last):
    config = RunConfig.model_validate({"name": "a", "model": model, "training": training})

    assert config.loaded_model.channels_last == channels_last
    assert config.loaded_model.model_copy(update={"channels_last": "auto"}) == config.model.model_copy(
        update={"channels_last": "auto"}
    )


def test_evaluation_replaces_the_settings_of_sampling_that_it_names():
    evaluation = {"sampler": "ode", "kl": False, "num_steps": 28, "guidance_scale": 4.5}
    sampling = {"num_steps": 10, "guidance_scale": 1.0, "flow": {"eta": 0.8}}
    run = RunConfig.model_validate({"name": "a", "sampling": sampling, "evaluation": evaluation})

    replaced = run.evaluation_sampling

    assert (replaced.num_steps, replaced.guidance_scale, replaced.flow.sampler) == (28, 4.5, "ode")
    assert replaced.images_per_prompt == run.sampling.images_per_prompt
    assert run.sampling.flow.sampler == "cps"
    assert RunConfig(name="a").evaluation_sampling == RunConfig(name="a").sampling
