"""The last document, for any number of readers: each gets the sections that have changed since it last looked.

No reader has a queue of its own, so that a slow one costs nothing: it gets the newest state when it can take it.
"""

import asyncio
import secrets
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, NamedTuple

MOST_READERS = 16
"""Pages at a time. A browser opens six connections to a host at most; more than a few have been forgotten."""
_IDLE = 5
"""While nobody looks, sources are read so many times less often."""


class Crowded(Exception):
    """There are as many readers as there may be."""


class Change(NamedTuple):
    """The sections that have changed, and the number of that state."""

    number: int
    sections: Mapping[str, Any]


class Board:
    """The document. Used from one event loop."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(4)
        """Tells the numbers of this process from those of the one before, which a browser may come back with."""
        self._sections: dict[str, Any] = {}
        self._changed: dict[str, int] = {}
        self._number = 0
        self._readers = 0
        self._news = asyncio.Event()
        self._read = asyncio.Event()
        self.closed = False

    def show(self, document: Mapping[str, Any]) -> None:
        """Replaces the document, and wakes readers if anything has changed."""
        changed = [name for name, section in document.items() if self._sections.get(name, self) != section]
        if changed:
            self._number += 1
            self._changed.update(dict.fromkeys(changed, self._number))
            self._sections.update({name: document[name] for name in changed})
            self._wake()

    def close(self) -> None:
        """Ends the waiting of all readers."""
        self.closed = True
        self._wake()

    @contextmanager
    def reader(self) -> Iterator[None]:
        """Counts somebody who looks, so that sources are read at full pace. Raises Crowded."""
        if self._readers >= MOST_READERS:
            raise Crowded
        self._readers += 1
        self._read.set()
        try:
            yield
        finally:
            self._readers -= 1
            if not self._readers:
                self._read.clear()

    async def after(self, number: int, seconds: float) -> Change:
        """The sections that have changed since that state; waits for some, at most so many seconds."""
        if self._number <= number and not self.closed:
            news = self._news
            with suppress(TimeoutError):
                await asyncio.wait_for(news.wait(), seconds)
        changed = {name: self._sections[name] for name, changed in self._changed.items() if changed > number}
        return Change(self._number, changed)

    def name(self, number: int) -> str:
        """The name of a state, for a browser to come back with."""
        return f"{self._run}-{number}"

    def number(self, name: str) -> int:
        """The number of the state of that name; 0, before the first, for one of another process, or none at all."""
        run, _, number = name.partition("-")
        if run != self._run or not number.isascii() or not number.isdecimal():
            return 0
        return min(int(number[:12]), self._number)

    async def pause(self, seconds: float) -> None:
        """Returns after `seconds` while somebody looks; else later, or as soon as somebody does."""
        await asyncio.sleep(seconds)
        if not self._read.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._read.wait(), seconds * (_IDLE - 1))

    def _wake(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()
