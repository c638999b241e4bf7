"""Where weights may come from; all of it is decided without torch."""

import shutil
import subprocess
import sys

import pytest

from reward_finetuning.config import UserError
from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
from reward_finetuning.rewards.scorer import check_scorers, scorer_digests

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def files_of(folder, scorer="image_reward"):
    for file in MODELS[scorer].files.values():
        (folder / file.name).write_text(file.name)
    return folder


def test_a_folder_with_the_published_files_is_found_by_role(tmp_path):
    found = sources.locate(MODELS["image_reward"], ScorerConfig(source=str(files_of(tmp_path))))

    assert found == {"weights": tmp_path / "ImageReward.pt", "vocabulary": tmp_path / "vocab.txt"}


def test_a_converted_file_is_preferred_to_the_pickle_it_came_from(tmp_path):
    (files_of(tmp_path) / "ImageReward.safetensors").write_text("converted")

    found = sources.locate(MODELS["image_reward"], ScorerConfig(source=str(tmp_path)))

    assert found["weights"].name == "ImageReward.safetensors"


@pytest.mark.parametrize("scorer", MODELS)
def test_every_missing_file_is_named_with_what_fetches_it(tmp_path, scorer):
    for role, file in MODELS[scorer].files.items():
        folder = tmp_path / role
        folder.mkdir()
        (files_of(folder, scorer) / file.name).unlink()

        with pytest.raises(
            UserError, match=rf"{folder} holds no .*the {role} of {scorer}; .*rft fetch-weights {scorer}"
        ):
            check_scorers(RewardConfig(weights={scorer: 1}, scorers={scorer: ScorerConfig(source=str(folder))}))


def test_an_empty_file_is_refused(tmp_path):
    (files_of(tmp_path) / "vocab.txt").write_text("")

    with pytest.raises(UserError, match=r"vocab.txt, the vocabulary of image_reward, is empty"):
        sources.check(MODELS["image_reward"], ScorerConfig(source=str(tmp_path)))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"source": "./nowhere"}, "'./nowhere' is no folder and no hub id"),
        (
            {"source": __file__},
            "test_sources.py is a file; give the folder that holds ImageReward.safetensors, vocab.txt",
        ),
        ({"source": "someone/finetune"}, "no folder someone/finetune; a hub id needs a revision"),
        ({"source": "someone/finetune", "revision": "main"}, "40 hex digits is needed, for branches move; got 'main'"),
        ({"revision": "main"}, "got 'main'"),
        ({"url": "http://localhost"}, "image_reward.url: this scorer runs here, from weights"),
        ({"use": "module:function"}, "image_reward.use: this scorer runs here"),
        ({"retries": 2}, "image_reward.retries: this scorer runs here"),
    ],
)
def test_a_source_that_cannot_work_is_refused(settings, message):
    with pytest.raises(UserError, match=message.replace("(", r"\(")):
        sources.check(MODELS["image_reward"], ScorerConfig(**settings))


def test_a_revision_of_a_folder_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"revision belongs to a hub id, but source .* is a folder: remove it"):
        sources.check(MODELS["image_reward"], ScorerConfig(source=str(files_of(tmp_path)), revision=COMMIT))


@pytest.mark.parametrize("settings", [{}, {"source": "zai-org/ImageReward"}, {"source": "a/b", "revision": COMMIT}])
def test_the_hub_at_a_known_or_given_commit_is_accepted_without_asking_it(settings):
    sources.check(MODELS["image_reward"], ScorerConfig(**settings))


def test_the_digest_knows_every_byte_of_every_file_and_not_where_they_lie(tmp_path):
    (tmp_path / "a").mkdir()

    def config(name):
        return RewardConfig(
            weights={"image_reward": 1}, scorers={"image_reward": ScorerConfig(source=str(tmp_path / name))}
        )

    files_of(tmp_path / "a")
    shutil.copytree(tmp_path / "a", tmp_path / "b")
    same = scorer_digests(config("a")), scorer_digests(config("b"))
    (tmp_path / "b" / "vocab.txt").write_text("vocab.tx!")

    changed = scorer_digests(config("b"))

    assert same[0] == same[1]
    assert len(same[0]["reward.image_reward.digest"]) == 64
    assert changed != same[1]


def test_a_file_is_read_for_its_checksum_only_once_until_it_changes(tmp_path):
    path = tmp_path / "file"
    path.write_text("one")
    first = sources.file_sha256(path)
    before = len(sources._digests)

    again = sources.file_sha256(path)

    assert again == first
    assert len(sources._digests) == before


def test_checking_and_digesting_import_nothing_heavy(tmp_path):
    program = f"""
import sys
from reward_finetuning.config import UserError
from reward_finetuning.config.sections.reward import RewardConfig, ScorerConfig
from reward_finetuning.rewards.scorer import check_scorers, scorer_digests
from reward_finetuning.rewards.catalogue import MODELS
check_scorers(RewardConfig(weights=dict.fromkeys(MODELS.keys() - {{"hpsv3"}}, 1.0)))
for name in ("image_reward_official", "hpsv3"):
    try:
        check_scorers(RewardConfig(weights={{name: 1}}))
    except UserError:
        pass  # its package is not here
config = RewardConfig(weights={{"image_reward": 1}}, scorers={{"image_reward": ScorerConfig(source={str(tmp_path)!r})}})
scorer_digests(config)
print([name for name in ("torch", "transformers", "PIL", "safetensors", "huggingface_hub") if name in sys.modules])
"""
    files_of(tmp_path)

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)

    assert done.stdout.strip() == "[]", done.stderr


HUB = """
import sys
from pathlib import Path
from reward_finetuning.config.sections.reward import ScorerConfig
from reward_finetuning.rewards import sources
from reward_finetuning.rewards.catalogue import MODELS
try:
    print(sorted(path.name for path in sources.locate(MODELS["image_reward"], ScorerConfig()).values()))
except Exception as error:
    print(type(error).__name__, error)
"""


@pytest.mark.parametrize("cached", [True, False])
def test_offline_the_hubs_cache_answers_or_a_retryable_error_says_where_to_fetch(tmp_path, monkeypatch, cached):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    for file in MODELS["image_reward"].files.values() if cached else ():
        name = f"models--{file.repository.name.replace('/', '--')}"
        snapshot = tmp_path / "hub" / name / "snapshots" / file.repository.revision
        snapshot.mkdir(parents=True)
        (snapshot / file.name).write_text("x")

    done = subprocess.run([sys.executable, "-c", HUB], capture_output=True, text=True, check=False)

    if cached:
        assert done.stdout.strip() == "['ImageReward.pt', 'vocab.txt']", done.stderr
    else:
        assert done.stdout.startswith("RetryableError ImageReward.pt of zai-org/ImageReward at 5736be03b265"), done
        assert "rft fetch-weights image_reward --to DIR --download" in done.stdout
