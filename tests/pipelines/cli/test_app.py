"""`rft` as its user meets it: a process, its output and its exit code."""

import json
import os
import shutil
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from reward_finetuning.failures import BUG
from reward_finetuning.pipelines.cli import app
from reward_finetuning.pipelines.cli.group import COMMANDS
from reward_finetuning.policy.pretrained.built_in import BUILT_IN

ROOT = Path(__file__).parents[3]
RUN = str(ROOT / "pipelines" / "runs" / "shapes-prdp.yaml")


def rft(*arguments, cwd, **variables):
    environment = os.environ | {"OMP_NUM_THREADS": "1", "COLUMNS": "200"} | variables
    command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, cwd=cwd, env=environment, check=False)


def write_run_file(config, folder):
    path = folder / "run.yaml"
    path.write_text(yaml.safe_dump(config.model_dump(mode="json")), encoding="utf-8")
    return path


@pytest.fixture
def run_file(tmp_path, run_config):
    return lambda **changes: write_run_file(run_config(**changes), tmp_path)


def bad_model(folder):
    (folder / "not-a-model").mkdir()
    return folder / "not-a-model"


def bare_scheduler(folder):
    model = shutil.copytree(BUILT_IN, folder / "model")
    path = model / "scheduler" / "scheduler_config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"set_alpha_to_one": True}))
    return model


def file_with(content):
    def make(folder):
        path = folder / "prompts.txt"
        path.write_bytes(content)
        return path

    return make


BAD = {
    "an unknown key": (["-o", "sampling.stpes=3"], None, "unknown key 'sampling.stpes'"),
    "a value out of range": (["-o", "sampling.num_steps=0"], None, "sampling.num_steps"),
    "one image per prompt": (["-o", "sampling.images_per_prompt=1"], None, "images_per_prompt must be at least 2"),
    "a missing prompt file": (["-o", "prompts.train=no.txt"], None, "prompt set no.txt does not exist"),
    "an empty prompt set": (["-o", "prompts.train={}"], file_with(b""), "holds no prompt"),
    "invalid UTF-8": (["-o", "prompts.train={}"], file_with(b"a\n\xff\n"), "prompts.txt:2 is not UTF-8"),
    "a folder that is no pipeline": (["-o", "model.source={}"], bad_model, "has no model_index.json"),
    "a scheduler without a last sigma": (
        ["-o", "model.source={}", "-o", "sampling.scheduler=from_model"], bare_scheduler, "below the floor",
    ),
    "an unknown scorer": (["-o", "reward.weights={{shape: 1}}"], None, "no scorer 'shape'; choose from"),
    "a missing run file": (["nothing.yaml"], None, "no run file nothing.yaml"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("case", BAD, ids=lambda case: case.replace(" ", "-"))
def test_bad_input_ends_with_code_2_and_one_line_before_any_work(case, run_file, tmp_path):
    arguments, make, message = BAD[case]
    made = make(tmp_path) if make else ""
    arguments = [argument.format(made) for argument in arguments]
    file = [] if arguments[0].endswith(".yaml") else [run_file()]

    done = rft("run", *file, *arguments, cwd=tmp_path)

    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not (tmp_path / "runs" / "tiny").exists()


@pytest.mark.slow
def test_compiling_needs_seconds_and_says_what_was_written(tmp_path):
    done = rft("compile", RUN, "--target", "vertex", "--output", "x.yaml", "-o", "loop.epochs=77", cwd=tmp_path)

    assert done.returncode == 0, done.stderr
    assert "77 epochs" in done.stdout
    assert (tmp_path / "x.yaml").stat().st_size < 200 * 1024


@pytest.mark.slow
def test_compiling_warns_of_what_submitting_refuses(tmp_path):
    done = rft("compile", RUN, "--target", "kfp", "--output", "x.yaml", cwd=tmp_path)

    assert done.returncode == 0
    assert "rft: warning: pods cannot read what lies on this machine: run_root=runs" in done.stderr
    assert "rft: warning: nodes pull images from a registry" in done.stderr


@pytest.mark.slow
def test_an_output_file_is_not_given_by_o(tmp_path):
    done = rft("compile", RUN, "-o", "x.yaml", cwd=tmp_path)

    assert done.returncode == 2
    assert "an override is written section.key=value, got 'x.yaml'" in done.stderr


def test_an_unknown_target_lists_the_known_ones(tmp_path):
    done = rft("compile", RUN, "--target", "argo", cwd=tmp_path)

    assert done.returncode == 2
    assert "'kfp'" in done.stderr


def test_status_of_a_run_that_was_never_begun(run_file, tmp_path):
    done = rft("status", run_file(), cwd=tmp_path)

    assert done.returncode == 2
    assert "contains no run; start one with: rft run" in done.stderr


@pytest.mark.slow
def test_help_shows_an_example_of_each_command(tmp_path):
    for command in ("run", "compile", "status", "tune"):
        done = rft(command, "--help", cwd=tmp_path)
        assert done.returncode == 0
        assert f"Example: rft {command} " in done.stdout


def test_the_version_is_that_of_the_package(tmp_path):
    assert rft("--version", cwd=tmp_path).stdout.strip() == f"rft {version('reward-finetuning')}"


def test_a_shell_completes_commands_and_names_the_options_of_one(tmp_path):
    commands = rft(cwd=tmp_path, _RFT_COMPLETE="complete_bash", COMP_WORDS="rft sta", COMP_CWORD="1")
    options = rft(cwd=tmp_path, _RFT_COMPLETE="complete_bash", COMP_WORDS="rft compile --ou", COMP_CWORD="2")

    assert commands.stdout.split() == ["status"]
    assert options.stdout.split() == ["--output"]


NARROW = {"COLUMNS": "30", "TERM": "dumb", "PYTHONIOENCODING": "ascii"}


@pytest.mark.slow
@pytest.mark.parametrize("command", [None, *COMMANDS])
def test_help_fits_a_narrow_terminal_without_unicode(command, tmp_path):
    done = rft(*([command] if command else []), "--help", cwd=tmp_path, **NARROW)

    assert done.returncode == 0, done.stderr
    assert done.stdout.isascii()
    assert max(map(len, done.stdout.splitlines())) <= 30


@pytest.mark.slow
def test_tables_and_errors_appear_in_a_narrow_terminal_without_unicode(tmp_path):
    table = rft("estimate", RUN, cwd=tmp_path, **NARROW)
    error = rft("run", "ü.yaml", cwd=tmp_path, **NARROW)

    assert table.returncode == 0, table.stderr
    assert "train" in table.stdout
    assert error.returncode == 2
    assert "no run file ?.yaml" in error.stderr


def test_lines_in_a_pipe_are_not_wrapped(tmp_path):
    name = "n" * 100
    environment = {key: value for key, value in os.environ.items() if key != "COLUMNS"}
    command = [sys.executable, "-m", "reward_finetuning.pipelines.cli", "estimate", RUN, "-o", f"name={name}"]

    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False)

    assert done.returncode == 0, done.stderr
    assert f"{name} on a100-80gb: " in done.stdout


def test_an_unknown_error_is_a_bug_and_says_where_it_is_reported(monkeypatch, capsys):
    def fail(**_):
        raise KeyError("x")

    monkeypatch.setattr(app, "app", fail)

    with pytest.raises(SystemExit) as end:
        app.main()

    assert end.value.code == 1
    *trace, line = capsys.readouterr().err.splitlines()
    assert line == "rft: KeyError: 'x'; " + BUG
    assert trace[0] == "Traceback (most recent call last):"


def test_windows_reads_in_one_line_what_is_missing(tmp_path):
    program = "import sys; from reward_finetuning.pipelines.cli.app import main; sys.platform = 'win32'; main()"

    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, cwd=ROOT, check=False)

    assert done.returncode == 2
    assert len(done.stderr.splitlines()) == 1
    assert "Windows is not supported, because it has no POSIX file locks (fcntl)" in done.stderr


@pytest.fixture(scope="module")
def first_run(run_config_in, tmp_path_factory):
    """`rft run` of one epoch: its config, its folder, and how it ended."""
    folder = tmp_path_factory.mktemp("first")
    config = run_config_in(folder, loop={"epochs": 1, "evaluate_every": 1})
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return config, folder, rft("run", write_run_file(config, folder), cwd=folder)


@pytest.fixture
def first_run_here(first_run, tmp_path):
    """The run file of a copy of that run in the test's own folder."""
    config, folder, done = first_run
    assert done.returncode == 0, done.stderr
    shutil.copytree(folder / "runs", tmp_path / "runs")
    return write_run_file(config.model_copy(update={"run_root": str(tmp_path / "runs")}), tmp_path)


ONE_RUN = pytest.mark.xdist_group("one-run-of-test-app")


@pytest.mark.slow
@ONE_RUN
def test_a_run_through_kfp_local_is_done_once_and_goes_on_with_more_epochs(first_run, first_run_here, tmp_path):
    *_, first = first_run
    again = rft("run", first_run_here, cwd=tmp_path)
    more = rft("run", first_run_here, "-o", "loop.epochs=2", cwd=tmp_path)
    status = rft("status", first_run_here, "-o", "loop.epochs=2", cwd=tmp_path)

    assert again.returncode == more.returncode == status.returncode == 0, again.stderr + more.stderr
    assert "epoch 1: reward" in first.stdout
    assert "report.html" in first.stdout
    assert "is done: 1 epochs are trained and evaluated; nothing was run" in again.stdout
    assert "epoch 2: reward" in more.stdout
    assert "epoch 1:" not in more.stdout
    assert "epoch 2 of 2" in status.stdout
    assert "pull of the reference" in status.stdout
    assert "<dt>Settings</dt>" in (tmp_path / "runs" / "tiny" / "report.html").read_text(encoding="utf-8")


@pytest.mark.slow
@ONE_RUN
def test_an_altered_artifact_is_named_before_any_work(first_run_here, tmp_path):
    weights = tmp_path / "runs" / "tiny" / "epochs" / "0001" / "policy" / "policy.safetensors"
    whole = weights.read_bytes()

    for damaged, message in ((whole[:-7], "truncated"), (whole[:-1] + b"\x01", "was altered")):
        weights.write_bytes(damaged)
        done = rft("run", first_run_here, "-o", "loop.epochs=2", cwd=tmp_path)
        assert done.returncode == 2
        assert "policy.safetensors" in done.stderr
        assert message in done.stderr
        assert "expected" in done.stderr
