"""Stages, shown while they happen: a spinner on a terminal, plain lines elsewhere. On standard error."""

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, cast

from rich.console import Console

from ordersys.console import output
from ordersys.local.outlet import Outlet

_WIDTH = 10
_END_SECONDS = 1.0


class Display:
    """Shows the stages of a start, and lines. Blocks for half a second at most, whoever does not read them."""

    def __init__(self, plain: bool = False) -> None:
        self._outlet = Outlet()
        self._console = Console(file=cast("IO[str]", _Errors(self._outlet)), highlight=False)
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
        if not self._outlet.write(output.shown(text) + "\n"):
            raise output.OutputClosed

    def command(self, text: str) -> None:
        """Commands a terminal: our own `text` as it is."""
        self._outlet.write(text)

    def close(self) -> None:
        """Returns when all is shown, or nobody reads it; to be called last."""
        self._outlet.wait(_END_SECONDS)


class _Errors:
    """Standard error as the spinner's thread writes to it: a terminal that was closed is no error of that thread."""

    def __init__(self, outlet: Outlet) -> None:
        self._outlet = outlet
        self._stream = sys.stderr  # this one: while the spinner turns, rich has one of its own in its place
        self.encoding = self._stream.encoding

    def write(self, text: str) -> int:
        self._outlet.offer(text)
        return len(text)

    def flush(self) -> None:
        """Nothing is held back here."""

    def isatty(self) -> bool:
        return self._stream.isatty()
