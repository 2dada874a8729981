"""The page about copying says how much there is to copy, as it is."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent.parent
PAGE = (ROOT / "docs" / "copy.md").read_text(encoding="utf-8")
ROWS = re.findall(
    r"^\| ([\w ]+) \| (\[.+?\)|none) \| (.+?) \| ([\d,]+) \| (\d+) files, ([\d,]+) lines \|$", PAGE, re.MULTILINE
)
ABOUT = 0.1
"""A page need not change with every line."""


def linked(cell: str) -> list[Path]:
    """The files a cell links to."""
    return [(ROOT / "docs" / link).resolve() for link in re.findall(r"\]\(([^)]+)\)", cell)]


def lines(path: Path) -> int:
    """Of a file."""
    return path.read_text(encoding="utf-8").count("\n")


def stands_on(files: list[Path]) -> set[Path]:
    """The files, with those they import of this project, and so on; stubs are made by everybody."""
    reached: set[Path] = set()
    left = list(files)
    while left:
        file = left.pop()
        if file in reached:
            continue
        reached.add(file)
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module and node.module.startswith("ordersys."):
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
                paths = [ROOT / f"{name.replace('.', '/')}.py" for name in names if not name.startswith("ordersys.api")]
                left += [path for path in paths if path.exists()]
    return reached


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_a_pattern_is_as_large_as_the_page_says(row: tuple[str, ...]) -> None:
    """By itself, and with all it stands on."""
    _, example, real, own, files, whole = row
    assert all(path.exists() for path in linked(example))
    reached = stands_on(linked(real))
    assert sum(map(lines, linked(real))) == pytest.approx(int(own.replace(",", "")), rel=ABOUT)
    assert len(reached) == pytest.approx(int(files), rel=ABOUT)
    assert sum(map(lines, reached)) == pytest.approx(int(whole.replace(",", "")), rel=ABOUT)


def test_each_pattern_is_on_the_page() -> None:
    """As many as there are examples, and each row is compared."""
    assert len(ROWS) == PAGE.count(" lines |\n")
    examples = {path for row in ROWS for path in linked(row[1])}
    assert examples == set((ROOT / "examples" / "minimal").glob("*.py"))
