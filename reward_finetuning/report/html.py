"""Rendering of self-contained HTML pages, which need no network and no storage.

The pages work from disk and inside the sandboxed frames of Kubeflow and MLflow. Names and prompts are untrusted, so
all text is escaped, and the content security policy allows only the script of the page.
"""

from base64 import b64encode
from collections.abc import Mapping
from functools import cache
from hashlib import sha256
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

_TEMPLATES = Path(__file__).parent / "templates"


def render(template: str, content: Mapping[str, Any]) -> str:
    """Render a template of templates/ with inline style and script. The filter `drawn` marks trusted SVG as safe."""
    return _environment().get_template(template).render(content, **_assets())


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["drawn"] = Markup
    environment.filters["unbroken"] = lambda text: text.replace(" %", "\u00a0%")  # no line break before a percent sign
    return environment


@cache
def _assets() -> dict[str, Markup]:
    """Style and script of the pages, and the digest of the script for the content security policy."""
    style, script = ((_TEMPLATES / name).read_text(encoding="utf-8") for name in ("page.css", "page.js"))
    digest = b64encode(sha256(script.encode()).digest()).decode()
    return {"style": Markup(style), "script": Markup(script), "script_digest": Markup(digest)}  # noqa: S704 our own files
