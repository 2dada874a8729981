"""Counterexamples for readers who do not know Python: what differs, in which line of the law, and for which example.

pytest and Hypothesis say more: how an expression came to its value, whole lists one below the other, the arguments
that are the machinery of the suite. That stays in their own output (`--tb=short`).
"""

import linecache
import re
import traceback
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.contract.harness.differences import FIRST_LINE, MOST_PLACES

STORY = "the story:"
"""The first words of a note that tells what was called; it takes the place of the steps that were drawn."""
MOST_LINES = 40
_MOST_LETTERS = 300
_MOST_SAID = 12  # lines: a text may hold a whole status
_MOST_SOURCE = 5  # lines
_LAWS = Path(__file__).parents[1] / "laws"
_ASSERT = "assert "
_MACHINERY = re.compile(r"    (system|alone|event_tap|injector|proxy|fake_order_service|broker)=")
_NO_EXAMPLE = ("You can reproduce this", "Explanation:", "Highlighted", "Failing test")


def counterexample(error: BaseException) -> str:
    """The counterexample, as small as it could be made; the first, where there are several. And the line it broke."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    notes: Sequence[str] = getattr(error, "__notes__", ())
    lines = [*_said(error), *_place(error), *_example(notes)]
    return "\n".join(_cut(line) for line in _limited(lines))


def _said(error: BaseException) -> list[str]:
    """The differences, or what the error says else."""
    kind = type(error)
    if not isinstance(error, AssertionError):
        name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
        return f"{name}: {error}".splitlines()[:_MOST_SAID]
    lines = str(error).splitlines()
    begin = next((number for number, line in enumerate(lines) if line.startswith(_ASSERT)), len(lines))
    own, rest = lines[:begin][:_MOST_SAID], [line.strip() for line in lines[begin:]]
    return [*own, *(_places(rest) or ([] if own else rest[:1]))]


def _places(lines: Sequence[str]) -> list[str]:
    """The lines about what differs, the first of which says how many there are."""
    for number, line in enumerate(lines):
        if match := FIRST_LINE.fullmatch(line):
            count = int(match[1])
            return list(lines[number : number + 1 + min(count, MOST_PLACES) + (count > MOST_PLACES)])
    return []


def _place(error: BaseException) -> Iterator[str]:
    """The line of the law that was broken."""
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if _is_law(frame.filename)]
    if frames and frames[-1].lineno:
        frame, first = frames[-1], frames[-1].lineno
        last = min(frame.end_lineno or first, first + _MOST_SOURCE - 1)
        source = " ".join(linecache.getline(frame.filename, number).strip() for number in range(first, last + 1))
        yield f"in {Path(frame.filename).name}, line {first}: {source}"


def _is_law(file: str) -> bool:
    return Path(file).is_relative_to(_LAWS)


def _example(notes: Sequence[str]) -> Iterator[str]:
    """The example: the calls of a story where it is one, else what was drawn."""
    stories = [note for note in notes if note.startswith(STORY)]
    for note in stories or notes:
        inside = True
        for line in note.splitlines():
            if line.startswith(_NO_EXAMPLE):
                break
            if re.match(r" {4}[^\s)]|\S", line):
                inside = not _MACHINERY.match(line)
            if inside:
                yield line.rstrip()


def _limited(lines: Sequence[str]) -> Sequence[str]:
    """The beginning, and the end where the example stands."""
    if len(lines) <= MOST_LINES:
        return lines
    end = MOST_LINES // 3
    begin = MOST_LINES - end - 1
    return [*lines[:begin], f"… {len(lines) - begin - end} lines …", *lines[-end:]]


def _cut(line: str) -> str:
    return line if len(line) <= _MOST_LETTERS else f"{line[:_MOST_LETTERS]}…"
