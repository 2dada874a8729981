"""Stages, shown while they happen: a spinner on a terminal, plain lines elsewhere. On standard error."""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

_WIDTH = 10


class Display:
    """Where the stages are shown."""

    def __init__(self, plain: bool = False) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._spins = self._console.is_terminal and not plain

    @contextmanager
    def stage(self, name: str) -> Iterator[Callable[[str], None]]:
        """Shows stage `name` until the block ends; what it yields takes a word about how it went."""
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
        """Shows a line as it is."""
        self._console.print(text, markup=False, soft_wrap=True)
