"""Notebooks as pages: text, code and the stored outputs."""

from __future__ import annotations

import json
from base64 import b64decode
from pathlib import Path
from typing import Any


def pages(folder: Path) -> dict[str, str | bytes]:
    """Path in the site -> page of a notebook, or a picture of its outputs."""
    files: dict[str, str | bytes] = {}
    for path in sorted(folder.glob("*.ipynb")):
        cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
        where = f"*This page is the notebook `docs/notebooks/{path.name}`; the tests execute it.*"
        parts = []
        for number, cell in enumerate(cells):
            parts += [_source(cell), *_outputs(cell, f"{path.stem}-{number}", files)]
        files[f"notebooks/{path.stem}.md"] = "\n\n".join([parts[0], where, *parts[1:]]) + "\n"
    return files


def _source(cell: dict[str, Any]) -> str:
    text = "".join(cell["source"])
    return f"```python\n{text}\n```" if cell["cell_type"] == "code" else text


def _outputs(cell: dict[str, Any], stem: str, files: dict[str, str | bytes]) -> list[str]:
    parts = []
    for number, output in enumerate(cell.get("outputs", [])):
        data = output.get("data", {})
        if "image/png" in data:
            name = f"{stem}-{number}.png"
            files[f"notebooks/{name}"] = b64decode(data["image/png"])
            parts.append(f"![Output of the cell above]({name})")
        else:
            parts.append(f"```text\n{''.join(output.get('text') or data.get('text/plain', [])).rstrip()}\n```")
    return parts
