"""Draw docs/architecture.svg: the rooms of the project, from the import contracts in pyproject.toml.

`make architecture` runs it. A row is a layer: a package may import only from the rows below it. The text of a box
is the docstring of its package, so the picture changes with the code.
"""

from __future__ import annotations

import ast
import sys
import tomllib
from html import escape
from pathlib import Path

ROOT = Path(__file__).parents[1]
PICTURE = Path(__file__).with_suffix(".svg")

STOPS = {
    "prompts": "1", "policy": "2", "diffusion": "3", "storage": "4", "rewards": "5", "objectives": "6", "training": "7",
    "evaluation": "8", "report": "9", "tracking": "10",
}  # fmt: skip
"""The way of an image, docs/architecture.md: room of the library -> number of the stop."""

WIDTH, MARGIN, LABEL, GAP = 1180, 16, 165, 8
LINE, PADDING, CHARACTERS_PER_PIXEL = 14, 10, 0.158
STYLE = """
text { font: 11.5px system-ui, sans-serif; fill: #1f2328 }
.name { font-weight: 650; font-size: 13px }
.layer { font-weight: 650; font-size: 14px }
.stop { fill: #fff; font-size: 10px; font-weight: 700 }
rect.page, rect.wing { fill: #fff }
rect.wing { stroke: #afb8c1 }
rect.room { fill: #f6f8fa; stroke: #d0d7de }
circle { fill: #0969da }
@media (prefers-color-scheme: dark) {
  text { fill: #e6edf3 }
  rect.page, rect.wing { fill: #0d1117 }
  rect.wing { stroke: #484f58 }
  rect.room { fill: #161b22; stroke: #30363d }
}
"""


def layers(name: str) -> list[list[str]]:
    """Rows of the layers contract whose name has the part `name`, top first, without the links to top-level folders."""
    tables = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    (contract,) = (table for table in tables if table["type"] == "layers" and name in table["name"])
    rows = [[room.strip() for room in layer.split(":")] for layer in contract["layers"]]
    return [row for row in rows if not set(row) & {"components", "pipelines"}]


def sentence(path: Path) -> str:
    """The first sentence of a package's or module's docstring."""
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    text = ast.get_docstring(ast.parse(source.read_text("utf-8"))) or ""
    if not text:
        raise SystemExit(f"{source.relative_to(ROOT)} has no docstring: the picture shows its first sentence")
    return text.split("\n\n")[0].replace("\n", " ").split(". ")[0].rstrip(".")


def wrapped(text: str, width: float) -> list[str]:
    """`text` in lines that fit into `width` pixels."""
    limit = int(width * CHARACTERS_PER_PIXEL)
    lines = [""]
    for word in text.replace("`", "").split():
        joined = f"{lines[-1]} {word}".strip()
        if len(joined) > limit and lines[-1]:
            lines.append(word)
        else:
            lines[-1] = joined
    return lines


def row(folder: Path, rooms: list[str], top: float) -> tuple[str, float]:
    """The boxes of one layer side by side; returns the SVG and the height."""
    left, total = MARGIN + LABEL, WIDTH - 2 * MARGIN - LABEL
    width = (total - GAP * (len(rooms) - 1)) / len(rooms)
    texts = [wrapped(sentence(folder / room), width - 2 * PADDING) for room in rooms]
    height = 2 * PADDING + LINE * (1 + max(map(len, texts)))
    parts = []
    for position, (room, lines) in enumerate(zip(rooms, texts, strict=True)):
        x = left + position * (width + GAP)
        parts.append(f'<rect class="room" x="{x:.1f}" y="{top}" width="{width:.1f}" height="{height}" rx="6"/>')
        suffix = "/" if (folder / room).is_dir() else ".py"
        parts.append(f'<text class="name" x="{x + PADDING:.1f}" y="{top + PADDING + 9}">{room}{suffix}</text>')
        for number, line in enumerate(lines, 1):
            y = top + PADDING + 9 + LINE * number
            parts.append(f'<text x="{x + PADDING:.1f}" y="{y}">{escape(line)}</text>')
        if folder.name == "reward_finetuning" and (stop := STOPS.get(room)):
            center = f'x="{x + width - 16:.1f}" y="{top + 19}"'
            parts.append(f'<circle cx="{x + width - 16:.1f}" cy="{top + 15}" r="10"/>')
            parts.append(f'<text class="stop" text-anchor="middle" {center}>{stop}</text>')
    return "\n".join(parts), height


def wing(name: str, rows: list[list[str]], folder: Path, top: float) -> tuple[str, float]:
    """One of the three top-level packages with its layers; returns the SVG and the height."""
    parts, y = [], top + PADDING
    for rooms in rows:
        svg, height = row(folder, rooms, y)
        parts.append(svg)
        y += height + GAP
    words = wrapped(sentence(folder), LABEL - 16)
    height = max(y - GAP, top + 44 + LINE * len(words)) + PADDING - top
    frame = f'<rect class="wing" x="{MARGIN / 2}" y="{top}" width="{WIDTH - MARGIN}" height="{height}" rx="8"/>'
    labels = [f'<text class="layer" x="{MARGIN + 4}" y="{top + 26}">{name}/</text>']
    labels += [
        f'<text x="{MARGIN + 4}" y="{top + 44 + LINE * number}">{escape(line)}</text>'
        for number, line in enumerate(words)
    ]
    return "\n".join([frame, *labels, *parts]), height


def draw() -> str:
    """The whole picture."""
    y, parts = MARGIN / 2, []
    for name, contract in (("pipelines", "the wings"), ("components", ""), ("reward_finetuning", "the library's")):
        rows = layers(contract) if contract else [["launcher"]]
        svg, height = wing(name, rows, ROOT / name, y)
        parts.append(svg)
        y += height + GAP
    size = f'width="{WIDTH}" height="{y}" viewBox="0 0 {WIDTH} {y}"'
    page = f'<rect class="page" width="{WIDTH}" height="{y}"/>'
    title = "<title>The rooms of the project. Imports point down.</title>"
    body = "\n".join([f"<style>{STYLE}</style>", title, page, *parts])
    return f'<svg xmlns="http://www.w3.org/2000/svg" role="img" {size}>\n{body}\n</svg>\n'


def main() -> None:
    """Write the picture; with --check say whether the committed one is current."""
    picture = draw()
    if "--check" in sys.argv[1:]:
        if PICTURE.read_text("utf-8") != picture:
            raise SystemExit("docs/architecture.svg is not current: run `make architecture` and commit it")
        return
    PICTURE.write_text(picture, "utf-8")


if __name__ == "__main__":
    main()
