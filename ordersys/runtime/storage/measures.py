"""Measures that both databases take of themselves (metrics/table.py)."""

from collections.abc import Iterator
from contextlib import contextmanager

from ordersys.runtime.base.leadership import Leadership
from ordersys.runtime.metrics.instruments import gauge, histogram, reading
from ordersys.runtime.metrics.table import COMMIT_SECONDS, DATABASE_READERS, DATABASE_WRITABLE, LEADER


class Measures:
    """The measures of one database."""

    def __init__(self, leadership: Leadership) -> None:
        self.commit_seconds = histogram(COMMIT_SECONDS)
        self._writable = gauge(DATABASE_WRITABLE)
        self._readers = 0
        reading(DATABASE_READERS, lambda: self._readers)
        reading(LEADER, lambda: leadership.held)

    @contextmanager
    def reading(self) -> Iterator[None]:
        """A read is under way."""
        self._readers += 1
        try:
            yield
        finally:
            self._readers -= 1

    def probed(self, is_writable: bool) -> bool:
        """Notes the result of a probe, and returns it."""
        self._writable.set(is_writable)
        return is_writable
