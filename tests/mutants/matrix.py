"""The matrix of results: each mutant with the laws that caught it, and how many were caught. Pure."""

from collections.abc import Iterable, Sequence
from typing import NamedTuple

UNBROKEN = "(unbroken)"


class Row(NamedTuple):
    """The result of one implementation: the laws it broke; why there is no verdict, where there is none."""

    name: str
    broken: tuple[str, ...]
    kept: int = 0
    no_verdict: str = ""

    @property
    def killed(self) -> bool:
        """True when a law caught it."""
        return bool(self.broken)


def matrix(unbroken: Row, rows: Sequence[Row]) -> str:
    """A line for each implementation and law that caught it, the unbroken one first; the count comes last."""
    width = max(len(row.name) for row in (unbroken, *rows))
    lines = [line for row in (unbroken, *rows) for line in _lines(row, width)]
    return "\n".join([*lines, "", score(rows)])


def score(rows: Iterable[Row]) -> str:
    """killed N of N."""
    all_rows = list(rows)
    return f"killed {sum(row.killed for row in all_rows)} of {len(all_rows)}"


def all_killed(rows: Sequence[Row]) -> bool:
    """True when there are mutants and none of them survived."""
    return bool(rows) and all(row.killed for row in rows)


def said(row: Row) -> str:
    """The result in a few words."""
    if row.no_verdict:
        return f"no verdict: {row.no_verdict}"
    if row.killed:
        return f"{row.broken[0]}{f' and {len(row.broken) - 1} more' if row.broken[1:] else ''}"
    return f"all {row.kept} laws kept"


def _lines(row: Row, width: int) -> list[str]:
    """The laws one below the other, the name beside the first."""
    cells = row.broken or (said(row),)
    names = [row.name, *[""] * (len(cells) - 1)]
    return [f"{name:<{width}}  {_mark(row)}{cell}" for name, cell in zip(names, cells, strict=True)]


def _mark(row: Row) -> str:
    """The mark before a result that must not be."""
    if row.name == UNBROKEN:
        return "BROKEN: " if row.broken else ""
    return "" if row.killed else "SURVIVED: "
