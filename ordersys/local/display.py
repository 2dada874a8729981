"""Stages, shown while they happen: a spinner on a terminal, plain lines elsewhere. On standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import IO, cast

from rich.console import Console

from ordersys.console import output

_WIDTH = 10


class Display:
    """Shows the stages of a start."""

    def __init__(self, plain: bool = False) -> None:
        self._console = Console(file=cast("IO[str]", _Errors()), highlight=False)
        self._spins = self._console.is_terminal and not plain

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
        """Shows stage `name` until the block ends; what it yields takes a word about how it went. As `line`."""
        words: list[str] = []
        began = time.monotonic()
        if self._spins:
            with self._console.status(f"{name} …"):
                yield words.append
        else:
            self.line(f"{name:<{_WIDTH}} …")
            yield words.append
        self.line(f"{name:<{_WIDTH}} {time.monotonic() - began:5.1f} s  {' '.join(words)}")

    def line(self, text: str) -> None:
        """Shows a line. Raises OutputClosed, once, when whoever read them has gone: that ends programs in a pipe."""
        if not output.error(text):
            raise output.OutputClosed


class _Errors:
    """Standard error as the spinner's thread writes to it: a terminal that was closed is no error of that thread."""

    def __init__(self) -> None:
        self._stream = sys.stderr  # this one: while the spinner turns, rich has one of its own in its place
        self.encoding = self._stream.encoding

    def write(self, text: str) -> int:
        with suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with suppress(OSError):
            self._stream.flush()

    def isatty(self) -> bool:
        return self._stream.isatty()
