"""docs/reliability.md: each row of the fault matrix, and tests that exist."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
ROOT = TESTS.parent
PAGE = (ROOT / "docs" / "reliability.md").read_text("utf-8")

NAMED = sorted(set(re.findall(r"`([\w/]+\.py)(?:::(\w+))?`", PAGE)))
ROWS = [line for line in PAGE.splitlines() if re.match(r"\| [RGMPNKABCD]\d+ \|", line)]
MATRIX = [
    *(f"R{number}" for number in range(1, 16) if number != 12),
    *(f"G{number}" for number in range(1, 12)),
    *(f"M{number}" for number in range(1, 10)),
    *(f"P{number}" for number in range(1, 5)),
    *(f"N{number}" for number in range(1, 8)),
    *(f"K{number}" for number in range(1, 4)),
    *("A1", "A2", "A3", "A4", "A5", "B6", "B7", "B8", "C9", "D10", "D11", "D12", "D13", "D14"),
]


@cache
def functions(path):
    return {node.name for node in ast.walk(ast.parse(path.read_text("utf-8"))) if isinstance(node, ast.FunctionDef)}


@pytest.mark.parametrize(("file", "function"), NAMED)
def test_a_test_that_the_page_names_exists(file, function):
    path = ROOT / file if file.startswith(("infra/smoke/", "tests/")) else TESTS / file

    assert path.is_file()
    assert not function or function in functions(path)


def test_every_row_of_the_fault_matrix_is_on_the_page():
    assert [row.split()[1] for row in ROWS if row.split()[1] != "N8"] == MATRIX


@pytest.mark.parametrize("row", ROWS)
def test_every_fault_has_a_test_or_a_command(row):
    *_, check, _ = row.split("|")

    assert re.search(r"`[\w/]+\.py(::\w+)?`|`make \w+`", check)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"`make ([\w-]+)`", PAGE))))
def test_every_command_is_a_target_of_the_makefile(target):
    assert re.search(rf"^{target}:", (ROOT / "Makefile").read_text("utf-8"), re.MULTILINE)
