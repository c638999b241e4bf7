"""The comparison as Markdown, which Kubeflow and Vertex AI show next to a task."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from reward_finetuning.report.comparison import Comparison, as_table
from reward_finetuning.report.runs import RunsComparison
from reward_finetuning.report.runs_page import policies_table
from reward_finetuning.report.sections import cautions


def as_markdown(comparison: Comparison, title: str) -> str:
    """The verdict, and the table of whole prompt sets.

    Args:
        comparison: result of `compare`.
        title: name of the run.
    """
    heading, *rows = ((row[0], *row[2:]) for row in as_table(comparison) if row[1] in {"", "category"})
    return markdown_page(title, [comparison.verdict, *in_sentences(cautions(comparison.rows))], heading, rows)


def policies_as_markdown(comparison: RunsComparison, title: str) -> str:
    """The verdicts, and a table of every policy on every whole prompt set, compared with the first policy.

    Args:
        comparison: result of `compare_runs`.
        title: name of the evaluation.
    """
    heading, *rows = policies_table(comparison)
    sentences = [*comparison.verdicts, *in_sentences(cautions(comparison.differences))]
    return markdown_page(title, sentences, heading, rows)


def in_sentences(texts: Mapping[str, str]) -> list[str]:
    """The result of `cautions` as one sentence per prompt set."""
    return [f"{prompt_set}: {text}" for prompt_set, text in texts.items()]


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
