"""Links of a page: in the repository they are paths, in the site they point to pages."""

from __future__ import annotations

import posixpath
import re
from pathlib import Path

_LINK = re.compile(r"(?P<image>!?)\[(?P<text>[^\]]*)\]\((?P<target>[^)\s:#][^)\s:#]*)(?P<anchor>#[^)\s]*)?\)")
_CODE = re.compile(r"(^```.*?^```)", flags=re.MULTILINE | re.DOTALL)


def rewrite(markdown: str, page: str, site: set[str], root: Path) -> str:
    """`markdown` with links that the site can follow.

    Args:
        markdown: text of the page.
        page: its path in the site; a page of docs/ has the path below docs/.
        site: paths of all files of the site.
        root: the repository.

    Returns:
        The text. A link to a folder becomes one to its index. A link to a file of the repository that the site does not
        have becomes the path. A link to nothing stays, and MkDocs reports it.
    """
    here = posixpath.dirname(page if _is_outside(page, root) else f"docs/{page}")

    def replacement(link: re.Match[str]) -> str:
        path = posixpath.normpath(posixpath.join(here, link["target"]))
        uri = _uri(path.removeprefix("docs/"), site)
        if uri:
            target = posixpath.relpath(uri, posixpath.dirname(page) or ".")
            return f"{link['image']}[{link['text']}]({target}{link['anchor'] or ''})"
        if not (root / path).exists():
            return link[0]
        text = link["text"].strip("`").rstrip("/")
        return f"`{path}`" if text == path else f"{link['text']} (`{path}` in the repository)"

    parts = _CODE.split(markdown)
    return "".join(part if part.startswith("```") else _LINK.sub(replacement, part) for part in parts)


def _is_outside(page: str, root: Path) -> bool:
    return not (root / "docs" / page).exists() and (root / page).exists()


def _uri(path: str, site: set[str]) -> str | None:
    return next((uri for uri in (path, f"{path}/index.md", f"{path}/README.md") if uri in site), None)
