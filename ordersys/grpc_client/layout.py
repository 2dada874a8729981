"""Tables as lines of text. Pure.

Without a width every row is one line, however long. On a terminal that is too narrow, columns of free text are folded
first; where that is not enough, each row becomes a block. The first column, which names the row, is never broken.
"""

import textwrap
import unicodedata
from collections.abc import Iterator, Sequence
from typing import NamedTuple

_GAP = "  "
_LEAST = 16
"""Columns of a terminal below which folded text is hard to read."""


class Column(NamedTuple):
    """A column: its name, whether it is set to the right, whether its text may be folded."""

    name: str
    right: bool = False
    folds: bool = False


def table(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int | None = None) -> Iterator[str]:
    """The lines of a table with its header. Cells are fit for a terminal; none has a line break."""
    natural = [max(cells(column.name), *(cells(row[i]) for row in rows), 0) for i, column in enumerate(columns)]
    fitting = _fitted(columns, natural, width)
    if fitting is None:
        yield from _blocks(columns, rows, width or 0)
        return
    for row in ([column.name for column in columns], *rows):
        yield from _row(columns, row, fitting)


def cells(text: str) -> int:
    """How many columns of a terminal `text` takes (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def padded(text: str, width: int, right: bool = False) -> str:
    """`text` in so many columns of a terminal."""
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def _fitted(columns: Sequence[Column], natural: Sequence[int], width: int | None) -> Sequence[int] | None:
    """The widths with which the table fits; None when it can't."""
    total = sum(natural) + len(_GAP) * (len(natural) - 1)
    if width is None or total <= width:
        return natural
    found = list(natural)
    folding = [i for i, column in enumerate(columns) if column.folds and natural[i] > _LEAST]
    for i in sorted(folding, key=lambda i: -natural[i]):
        less = min(natural[i] - _LEAST, total - width)
        found[i] -= less
        total -= less
    return found if total <= width else None


def _row(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    parts = [_folded(cell, width) for cell, width in zip(row, widths, strict=True)]
    for number in range(max(map(len, parts))):
        found = (part[number] if number < len(part) else "" for part in parts)
        line = (padded(text, w, c.right) for text, w, c in zip(found, widths, columns, strict=True))
        yield _GAP.join(line).rstrip()


def _folded(text: str, width: int) -> Sequence[str]:
    if cells(text) <= width:
        return [text]
    # Counted in letters: of a wide one half as many have room.
    return textwrap.wrap(text, width if text.isascii() else max(width // 2, 1)) or [text]


def _blocks(columns: Sequence[Column], rows: Sequence[Sequence[str]], width: int) -> Iterator[str]:
    for first, *rest in rows:
        yield first
        line = ""
        for column, cell in zip(columns[1:], rest, strict=True):
            word = f"{column.name} {cell}"
            if line and cells(line) + cells(word) + len(_GAP) > width:
                yield line
                line = ""
            line = f"{line}{_GAP}{word}"
        yield line
