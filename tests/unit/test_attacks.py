"""The page of attacks names tests that there are, and a reason where there is none."""

import ast
import re
from collections.abc import Set
from functools import cache
from pathlib import Path
from typing import NamedTuple

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "attacks.md").read_text(encoding="utf-8")
TESTS = sorted((ROOT / "tests" / "integration" / "attacks").glob("test_*.py"))
REFERENCE = re.compile(r"`(tests/[\w/]+\.py)::(\w+)`")
REASON = re.compile(r"none: .{20}")
_GROUPS = {
    "Connections": 15,
    "Tokens": 15,
    "Calls": 10,
    "What belongs to others": 12,
    "The broker": 12,
    "The live page": 15,
    "Files, processes, output": 10,
}
"""The groups of attacks, and how many there are at least."""


class Attack(NamedTuple):
    """A row: the attempt, the right answer, and the tests or the reason."""

    attempt: str
    answer: str
    tried_by: str


def attacks(group: str) -> list[Attack]:
    """The rows below a heading, without the head of the table."""
    _, _, part = PAGE.partition(f"\n## {group}\n")
    rows = re.findall(r"^\| (.*?) \| (?:(.*?) )?\| (.*?) \|$", part.partition("\n## ")[0], re.MULTILINE)
    return [Attack(*row) for row in rows if row[2] != "tried by"]


@cache
def functions(path: str) -> Set[str]:
    """The tests of a file."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return {node.name for node in tree.body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)}


@pytest.mark.parametrize("group", _GROUPS)
def test_each_attack_is_tried_or_has_a_reason_why_not(group: str) -> None:
    """A row without either is an attack that somebody forgot."""
    rows = attacks(group)
    assert len(rows) >= _GROUPS[group]
    assert len({row.attempt for row in rows}) == len(rows)
    assert [row.attempt for row in rows if not (REFERENCE.search(row.tried_by) or REASON.match(row.tried_by))] == []


def test_each_test_that_is_named_is_there() -> None:
    """In the file that is named, by that name."""
    lost = [f"{path}::{name}" for path, name in REFERENCE.findall(PAGE) if name not in functions(path)]
    assert lost == []
    assert len(PAGE.split("::")) == len(REFERENCE.findall(PAGE)) + 1


def test_each_test_of_attacks_is_named() -> None:
    """None is there that the page does not know of."""
    tests = {name for path in TESTS for name in functions(str(path.relative_to(ROOT))) if name.startswith("test_")}
    assert tests - {name for _, name in REFERENCE.findall(PAGE)} == set()


def test_all_groups_are_looked_at() -> None:
    """None of the page's headings is left out."""
    assert re.findall(r"^## (.+)$", PAGE, re.MULTILINE) == list(_GROUPS)
