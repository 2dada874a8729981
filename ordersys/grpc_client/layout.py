"""Tables as lines of text. Pure.

Without a width every row is one line, however long. On a terminal that is too narrow, columns of free text are folded
first; where that is not enough, each row becomes a block. The first column, which names the row, is never broken.
"""

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
    fitting = _fitted(columns, natural, _longest_words(columns, rows), width)
    if fitting is None:
        for row in rows:
            yield from block(columns, row, width or 0)
        return
    for row in ([column.name for column in columns], *rows):
        yield from line(columns, row, fitting)


def line(columns: Sequence[Column], row: Sequence[str], widths: Sequence[int]) -> Iterator[str]:
    """The lines of a row in columns of these widths; more than one where a cell has to be folded."""
    parts = [
        _folded(cell, width) if column.folds else [cell]
        for cell, width, column in zip(row, widths, columns, strict=True)
    ]
    for number in range(max(map(len, parts))):
        texts = (part[number] if number < len(part) else "" for part in parts)
        padded_texts = (padded(text, w, c.right) for text, w, c in zip(texts, widths, columns, strict=True))
        yield _GAP.join(padded_texts).rstrip()


def block(columns: Sequence[Column], row: Sequence[str], width: int) -> Iterator[str]:
    """The lines of a row where its columns don't fit side by side: the first cell, then the others with their names."""
    yield row[0]
    text = ""
    for column, cell in zip(columns[1:], row[1:], strict=True):
        if not cell:
            continue
        named = f"{column.name} {cell}"
        if text and cells(text) + len(_GAP) + cells(named) > width:
            yield text
            text = ""
        if cells(named) + len(_GAP) > width and column.folds:
            yield from (f"{_GAP}{part}" for part in _folded(named, max(width - len(_GAP), 1)))
        else:
            text = f"{text}{_GAP}{named}"
    if text:
        yield text


def cells(text: str) -> int:
    """The columns of a terminal that `text` takes (Unicode Standard Annex 11)."""
    if text.isascii():
        return len(text)
    return sum(2 if unicodedata.east_asian_width(c) in "WF" else not unicodedata.combining(c) for c in text)


def padded(text: str, width: int, right: bool = False) -> str:
    """`text` in so many columns of a terminal."""
    blanks = " " * (width - cells(text))
    return blanks + text if right else text + blanks


def _fitted(
    columns: Sequence[Column], natural: Sequence[int], least: Sequence[int], width: int | None
) -> Sequence[int] | None:
    """The widths with which the table fits; None when it can't."""
    total = sum(natural) + len(_GAP) * (len(natural) - 1)
    if width is None or total <= width:
        return natural
    widths = list(natural)
    folding = [i for i, column in enumerate(columns) if column.folds and natural[i] > least[i]]
    for i in sorted(folding, key=lambda i: -natural[i]):
        less = min(natural[i] - least[i], total - width)
        widths[i] -= less
        total -= less
    return widths if total <= width else None


def _longest_words(columns: Sequence[Column], rows: Sequence[Sequence[str]]) -> Sequence[int]:
    """The least width of each column: a word is not cut where it may be an id that somebody copies."""
    words = ([word for row in rows for word in row[i].split(" ") if word.isascii()] for i in range(len(columns)))
    return [max([_LEAST, *map(cells, column)]) for column in words]


def _folded(text: str, width: int) -> Sequence[str]:
    """Lines of so many columns at most; a word in ASCII that is wider stays whole."""
    lines = [""]
    for word in _words(text, width):
        longer = f"{lines[-1]} {word}" if lines[-1] else word
        if cells(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(word)
    return [line for line in lines if line] or [text]


def _words(text: str, width: int) -> Iterator[str]:
    """The words of a text; of scripts that set no blanks between words, pieces that fit."""
    for word in text.split(" "):
        piece = ""
        for letter in word:
            if not word.isascii() and piece and cells(piece + letter) > width:
                yield piece
                piece = ""
            piece += letter
        yield piece
