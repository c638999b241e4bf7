from pathlib import Path

import pytest

from reward_finetuning.config import UserError, load_run_or_evaluation
from reward_finetuning.pipelines.cli.run_files import RUNS, complete, packaged, run_file, runs, summary


def test_a_name_is_a_run_file_of_the_package():
    assert run_file(Path("shapes-prdp")) == RUNS / "shapes-prdp.yaml"
    assert run_file(Path("shapes-evaluation")) == RUNS / "evaluations" / "shapes-evaluation.yaml"


def test_a_value_with_a_slash_or_an_ending_is_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)

    for path in ("shapes-prdp.yaml", "shapes-prdp.yml", "folder/shapes-prdp", "/dev/stdin"):
        assert run_file(Path(path)) == Path(path)


def test_a_name_means_the_package_even_beside_a_file_of_that_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "shapes-prdp").write_text("name: other\n")

    assert run_file(Path("shapes-prdp")) == RUNS / "shapes-prdp.yaml"
    assert run_file(Path(tmp_path) / "shapes-prdp") == tmp_path / "shapes-prdp"


def test_a_file_without_an_ending_is_taken_if_no_run_has_its_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "mine").write_text("name: mine\n")

    assert run_file(Path("mine")) == Path("mine")


def test_a_name_of_nothing_suggests_the_nearest_one():
    with pytest.raises(UserError, match=r"no run 'shapes-prpd'; did you mean shapes-prdp\? rft runs lists"):
        run_file(Path("shapes-prpd"))


@pytest.mark.parametrize("name", packaged())
def test_every_run_file_is_named_as_its_run_and_says_what_it_is(name):
    path = packaged()[name]

    assert load_run_or_evaluation(path).name == name
    assert 20 < len(summary(path)) < 180
    assert "rft " not in summary(path)


def test_the_list_has_a_line_for_each(capsys, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)

    runs()

    assert [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]] == list(packaged())


def test_a_shell_completes_names():
    assert complete("shapes-ppod") == ["shapes-ppod-offline", "shapes-ppod-online"]
