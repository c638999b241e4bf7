"""Output for terminals of any width and encoding, and for pipes."""

from __future__ import annotations

import codecs
import io
import os
import sys

from rich.console import Console

_ASCII = {"×": "x", "±": "+/-", "→": "->", "─": "-", "▶": ">", "−": "-", "–": "-", "…": "~", "≤": "<=", "≥": ">="}
_UNLIMITED = 100_000


def make_console() -> Console:
    """A console for results: as wide as the terminal, or as COLUMNS says. Lines in a pipe or a file are not wrapped."""
    limited = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(width=None if limited else _UNLIMITED)


def make_encodable() -> None:
    """Let stdout and stderr replace a character that their encoding does not have, instead of failing."""
    codecs.register_error("rft", _replaced)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper) and not stream.encoding.lower().startswith("utf"):
            stream.reconfigure(errors="rft")


def _replaced(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    return "".join(_ASCII.get(character, "?") for character in text), error.end
