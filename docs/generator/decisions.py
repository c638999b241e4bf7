"""The list of decisions."""

from __future__ import annotations

from pathlib import Path


def page(folder: Path) -> str:
    """A page that links each decision in `folder` by its title."""
    lines = ["# Decisions", "", "Choices that a reader would question, half a page each.", ""]
    for path in sorted(folder.glob("0*.md")):
        title = path.read_text(encoding="utf-8").splitlines()[0].lstrip("# ")
        lines.append(f"- [{title}]({path.name})")
    return "\n".join(lines) + "\n"
