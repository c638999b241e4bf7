import os
import pwd
import re
import shutil
import subprocess
from importlib.metadata import version

from reward_finetuning.tracking import code, code_version
from reward_finetuning.tracking.code import user


def test_an_image_says_which_commit_it_was_built_from(monkeypatch):
    monkeypatch.setenv("RFT_CODE_VERSION", "abc-dirty")

    assert code_version() == "abc-dirty"


def test_a_checkout_is_its_commit_and_an_installed_package_its_version(monkeypatch):
    monkeypatch.delenv("RFT_CODE_VERSION", raising=False)

    assert re.fullmatch("[0-9a-f]{40}(-dirty)?", code_version()) or code_version() == version("reward-finetuning")


def test_uncommitted_changes_are_marked(tmp_path, monkeypatch):
    monkeypatch.delenv("RFT_CODE_VERSION", raising=False)
    copy = tmp_path / "code.py"
    shutil.copyfile(code.__file__, copy)
    git = ["git", "-C", str(tmp_path), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "code.py"], ["commit", "-qm", "x"]):
        subprocess.run([*git, *command], check=True)
    monkeypatch.setattr(code, "__file__", str(copy))

    committed = code_version()
    copy.write_text("changed")

    assert re.fullmatch("[0-9a-f]{40}", committed)
    assert code_version() == committed  # what this process has imported
    code.commit_of.cache_clear()
    assert code_version() == f"{committed}-dirty"


def test_an_installed_package_in_a_repository_of_the_user_is_its_version(tmp_path, monkeypatch):
    monkeypatch.delenv("RFT_CODE_VERSION", raising=False)
    copy = tmp_path / "code.py"
    shutil.copyfile(code.__file__, copy)
    for command in (
        ["init", "-q"],
        ["-c", "user.name=a", "-c", "user.email=a@b", "commit", "-qm", "x", "--allow-empty"],
    ):
        subprocess.run(["git", "-C", str(tmp_path), *command], check=True)
    monkeypatch.setattr(code, "__file__", str(copy))

    assert code_version() == version("reward-finetuning")


def test_a_user_id_without_a_name_is_the_user(monkeypatch):
    for variable in ("RFT_USER", "MLFLOW_TRACKING_USERNAME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setattr("getpass.getuser", lambda: pwd.getpwuid(2**31 - 2).pw_name)

    assert user() == str(os.getuid())
