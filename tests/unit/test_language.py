"""The language of the code: docstrings begin with a noun or a verb, variables are named by what they hold."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
FOLDERS = ("ordersys", "tools", "benchmarks", "examples", "tests")
LAWS = ROOT / "tests" / "contract" / "laws"
FILES = [path for folder in FOLDERS for path in sorted((ROOT / folder).rglob("*.py")) if "api" not in path.parts]
QUESTIONS = ("What", "Whatever", "Whether", "Who", "Whoever", "Whom", "Whose", "How", "Where", "Which", "Why")
EMPTY_NAMES = {"one", "found", "told", "taken", "thing", "what"}
every_file = pytest.mark.parametrize("path", FILES, ids=[str(path.relative_to(ROOT)) for path in FILES])


def docstrings(path: Path) -> Iterator[str]:
    """Docstrings of a module, its classes and its functions, but for the laws: these are published in a table."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Module | ast.ClassDef):
            yield ast.get_docstring(node) or ""
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            is_law = path.is_relative_to(LAWS) and node.name.startswith("test_")
            yield "" if is_law else ast.get_docstring(node) or ""


@every_file
def test_no_docstring_begins_with_a_question_word(path: Path) -> None:
    """It begins with the noun it is about, or with the verb that says what is done."""
    questions = [text for text in docstrings(path) if text.split(" ", 1)[0] in QUESTIONS]
    assert questions == []


@every_file
def test_no_variable_has_a_name_that_says_nothing(path: Path) -> None:
    """It is called by the noun it holds."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    bound = {node.id for node in nodes if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    assert bound & EMPTY_NAMES == set()
