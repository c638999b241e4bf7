import os
import sys
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

ROOT = Path(__file__).parents[2]
NOTEBOOKS = sorted((ROOT / "docs" / "notebooks").glob("*.ipynb"))


SMALLER = {
    "finetune_and_look": {"prompts.prompts_per_epoch=16": "prompts.prompts_per_epoch=2"},
    "own_reward_and_model": {"images_per_prompt: 16": "images_per_prompt: 3"},
}
"""Numbers of images that a test needs no more of."""


# Each runs `rft run` as a reader would. They are the only proof that the notebooks work.
@pytest.mark.slow
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_runs_from_an_empty_folder(path, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    text = path.read_text(encoding="utf-8")
    for number, smaller in SMALLER[path.stem].items():
        assert number in text
        text = text.replace(number, smaller)
    notebook = nbformat.reads(text, as_version=4)

    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(tmp_path)}}).execute()

    printed = "".join(
        output.get("text", "") for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs
    )
    assert "rft: " not in printed  # an error of the command
    assert {"my-run", "notebook"} & {folder.name for folder in (tmp_path / "runs").iterdir()}


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_a_notebook_is_committed_with_its_outputs(path):
    cells = [cell for cell in nbformat.read(path, as_version=4).cells if cell.cell_type == "code"]

    assert any(cell.outputs for cell in cells)
    assert not [output for cell in cells for output in cell.outputs if output.output_type == "error"]
