"""The comparison as Markdown, which Kubeflow and Vertex AI show next to a task."""

from collections.abc import Mapping

from reward_finetuning.report.comparison import Comparison, as_table
from reward_finetuning.report.markdown import markdown_page
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
