import re

import numpy as np
import pytest

from reward_finetuning.report.comparison import as_table, compare
from reward_finetuning.report.markdown import plain
from reward_finetuning.report.summary import as_markdown


def test_the_verdict_and_whole_prompt_sets_stand_in_a_table(make_samples):
    two = ["colour"] * 20 + ["count"] * 20
    before = make_samples(np.zeros(40), categories=two)
    comparison = compare(before, make_samples(np.arange(40), epoch=3, categories=two))

    lines = as_markdown(comparison, "demo").splitlines()

    assert lines[:3] == ["# demo", "", comparison.verdict]
    heading, _, *rows = lines[4:]
    assert heading.startswith("| prompt set | reward | before |")
    assert len(rows) == 1
    whole = as_table(comparison)[1]
    assert [cell.strip() for cell in rows[0].strip("|").split("|")] == [whole[0], *whole[2:]]


@pytest.mark.parametrize(
    "text", ["<script>alert(1)</script>", "a | b", "[x](javascript:alert(1))", "*bold* `code`", "line\nbreak # heading"]
)
def test_hostile_names_are_text(make_samples, text):
    comparison = compare(make_samples([0, 1], prompt_set=text), make_samples([1, 2], prompt_set=text, epoch=1))

    page = as_markdown(comparison, text)

    assert "<" not in page
    assert not re.search(r"(?<!\\)[\[\]*`]", page)
    row = page.splitlines()[-1]
    assert len(re.findall(r"(?<!\\)\|", row)) == 9
    assert plain(text) in row
