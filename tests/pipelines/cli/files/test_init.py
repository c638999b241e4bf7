import pytest

from reward_finetuning.config import UserError, load_config
from reward_finetuning.config.parsing import parse_yaml
from reward_finetuning.pipelines.cli.files.init import init, starter
from reward_finetuning.pipelines.cli.options import Gpu
from reward_finetuning.pipelines.cli.run_files import packaged
from reward_finetuning.pipelines.estimate.cost import estimate
from reward_finetuning.pipelines.estimate.networks import ACCELERATORS

SD = "CompVis/stable-diffusion-v1-4"


@pytest.fixture
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def read(text, tmp_path):
    path = tmp_path / "read.yaml"
    path.write_text(text, encoding="utf-8")
    return load_config(path)


@pytest.mark.usefixtures("_folder")
@pytest.mark.parametrize(("model", "run"), [(None, "shapes-prdp"), ("shapes-flow", "shapes-flow-prdp")])
def test_without_a_terminal_a_built_in_model_is_trained_as_in_its_run_file(model, run, capsys):
    init("mine", model)

    configs = [load_config(path) for path in ("mine.yaml", packaged()[run])]
    mine, demo = (config.numbers() | {"loop.epochs": config.loop.epochs} for config in configs)
    assert {key for key in mine.keys() & demo.keys() if mine[key] != demo[key]} == set()
    assert "  rft run mine.yaml" in capsys.readouterr().out


@pytest.mark.usefixtures("_folder")
def test_a_file_is_never_replaced():
    init("mine")

    with pytest.raises(UserError, match=r"mine\.yaml exists"):
        init("mine")


@pytest.mark.parametrize("gpu", [Gpu.L4, Gpu.H100])
def test_the_batch_of_training_fits_the_gpu_and_twice_as_much_does_not(gpu, tmp_path):
    config = read(starter("a", SD, None, "animals", "pickscore", gpu), tmp_path)

    def share(cells):
        training = config.training.model_copy(update={"cells_per_batch": cells})
        changed = config.model_copy(update={"training": training})
        return estimate(changed, ACCELERATORS[gpu]).roles["train"].memory / ACCELERATORS[gpu].memory

    cells = config.training.cells_per_batch
    assert share(cells) <= 0.85
    assert cells == 64 or share(2 * cells) > 0.85


def test_a_published_model_gets_its_commit():
    assert parse_yaml(starter("a", SD, None, "animals", "pickscore", Gpu.L4), "")["model"]["revision"][:8] == "133a221b"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": "owner/unknown"}, r"a hub id needs model.revision"),
        (
            {"model": "stabilityai/stable-diffusion-xl-base-1.0", "gpu": Gpu.T4},
            "does not fit into the memory of one t4",
        ),
        ({"name": "a b"}, "name: "),
        ({"prompts": "C:\\\\prompts.txt"}, "a Windows path names nothing here"),
    ],
)
def test_an_answer_that_cannot_work_is_refused(changes, message):
    answers = {"name": "a", "model": SD, "revision": None, "prompts": "animals", "reward": "pickscore", "gpu": Gpu.L4}

    with pytest.raises(UserError, match=message):
        starter(**answers | changes)


def test_a_text_with_special_characters_stays_one_value(tmp_path):
    text = starter("a", "shapes", None, "my prompts: #1.txt", "shapes", None)

    assert read(text, tmp_path).prompts.train == "my prompts: #1.txt"


@pytest.mark.parametrize("reward", ["colourfulness", "jpeg_compressibility"])
def test_the_guard_is_another_scorer_than_the_reward(reward, tmp_path):
    assert len(read(starter("a", "shapes", None, "shapes:train", reward, None), tmp_path).reward.weights) == 2
