"""Pages in Markdown, of text from anywhere."""

from collections.abc import Iterable, Sequence
from html import escape


def markdown_page(
    title: str, sentences: Sequence[str], heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]
) -> str:
    """A heading, sentences and a table. Special characters of Markdown are escaped."""
    lines = [_plain_cells(heading), ("---",) * len(heading), *map(_plain_cells, rows)]
    table = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([f"# {plain(title)}", *map(plain, sentences), table]) + "\n"


def plain(text: str) -> str:
    """Escape text for Markdown: one line, without tags, links, emphasis or table cells."""
    one_line = escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#~" else sign for sign in one_line)


def _plain_cells(row: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(plain, row))
