"""Hooks of MkDocs: generated pages, pages from outside docs/, links between them, formulas."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

from docs.generator import commands, decisions, formulas, library, links, notebooks, settings

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
OUTSIDE = (
    "CHANGELOG.md",
    "CONTRIBUTING.md",
    "benchmarks/**/*.md",
    "benchmarks/**/plots/*.svg",
    "infra/README.md",
    "infra/local/README.md",
    "infra/cluster*.yaml",
)
"""Files outside docs/ that are part of the site, under the same path."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages and the files outside docs/."""
    generated: dict[str, str | bytes] = {
        "decisions/index.md": decisions.page(ROOT / "docs" / "decisions"),
        "reference/commands.md": commands.page(),
        **settings.pages(),
        **library.pages(ROOT),
        **notebooks.pages(ROOT / "docs" / "notebooks"),
        **{f"assets/{name}": (HERE / name).read_text(encoding="utf-8") for name in ("site.css", "iframe-worker.js")},
    }
    for uri, content in generated.items():
        files.append(File.generated(config, uri, content=content))
    for path in sorted(path for pattern in OUTSIDE for path in ROOT.glob(pattern)):
        files.append(File.generated(config, path.relative_to(ROOT).as_posix(), abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, files: Files, **_: Any) -> str:
    """Point links across the border of docs/ to pages of the site; a file that is no page becomes its path."""
    return links.rewrite(markdown, page.file.src_uri, set(files.src_uris), ROOT)


def on_page_content(html: str, **_: Any) -> str:
    """Formulas as MathML, which browsers draw without a script."""
    return formulas.as_mathml(html)
