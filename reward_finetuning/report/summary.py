"""The comparison in Markdown, as Kubeflow and Vertex show it beside a task."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from reward_finetuning.report.comparison import Comparison, as_table
from reward_finetuning.report.runs import RunsComparison
from reward_finetuning.report.runs_page import policies_table
from reward_finetuning.report.sections import cautions


def as_markdown(comparison: Comparison, title: str) -> str:
    """The verdict, and the table of whole prompt sets.

    Args:
        comparison: what `compare` found.
        title: of the run.
    """
    heading, *rows = ((row[0], *row[2:]) for row in as_table(comparison) if row[1] in {"", "category"})
    return markdown_page(title, [comparison.verdict, *in_sentences(cautions(comparison.rows))], heading, rows)


def policies_as_markdown(comparison: RunsComparison, title: str) -> str:
    """The verdicts, and every policy on every whole prompt set, held against the first.

    Args:
        comparison: what `compare_runs` found.
        title: of the evaluation.
    """
    heading, *rows = policies_table(comparison)
    said = [*comparison.verdicts, *in_sentences(cautions(comparison.differences))]
    return markdown_page(title, said, heading, rows)


def in_sentences(about: Mapping[str, str]) -> list[str]:
    """What `cautions` found, one sentence a prompt set."""
    return [f"{prompt_set}: {said}" for prompt_set, said in about.items()]


def markdown_page(
    title: str, sentences: Sequence[str], heading: tuple[str, ...], rows: Iterable[tuple[str, ...]]
) -> str:
    """A heading, sentences and a table; all of it is shown as text, whatever it holds."""
    lines = [_plain_cells(heading), ("---",) * len(heading), *map(_plain_cells, rows)]
    drawn = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return "\n\n".join([f"# {plain(title)}", *map(plain, sentences), drawn]) + "\n"


def plain(text: str) -> str:
    """Text that Markdown shows as it is: in one line, without tags, links, emphasis or cells of its own."""
    one_line = escape(" ".join(text.split()), quote=False)
    return "".join(f"\\{sign}" if sign in "\\`*_[]|#~" else sign for sign in one_line)


def _plain_cells(row: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(plain, row))
