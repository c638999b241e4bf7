"""What a server said, made fit for our one line."""

from __future__ import annotations

_MOST_CHARACTERS = 300


def one_line(text: str) -> str:
    """Without line breaks, and not longer than a reader bears."""
    line = " ".join(text.split())
    return line if len(line) <= _MOST_CHARACTERS else f"{line[:_MOST_CHARACTERS]}..."
