import re
from importlib.metadata import version

from reward_finetuning.tracking import code_version


def test_an_image_says_which_commit_it_was_built_from(monkeypatch):
    monkeypatch.setenv("RFT_CODE_VERSION", "abc-dirty")

    assert code_version() == "abc-dirty"


def test_a_checkout_is_its_commit_and_an_installed_package_its_version(monkeypatch):
    monkeypatch.delenv("RFT_CODE_VERSION", raising=False)

    assert re.fullmatch("[0-9a-f]{40}", code_version()) or code_version() == version("reward-finetuning")
