"""What the services of a system have on disk, read beside them and never written: the only clock and the only
witness of what was recorded or relayed."""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ordersys.notification_service.inbox import NOTIFICATIONS
from ordersys.order_service.store import OUTBOX

_POLL = 0.002
_PATIENCE = 120.0
_CONSUMERS = ("notification-service-1", "notification-service-2")


class Unsound(Exception):
    """What was measured can't be counted: orders are missing, or calls failed; the text says what."""


class Reading:
    """A connection that only reads a database in use."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)

    def number(self, statement: str, *parameters: object) -> int:
        """The one number a statement answers, 0 for none."""
        row = self._connection.execute(statement, parameters).fetchone()
        return int(row[0] or 0) if row else 0

    def texts(self, statement: str, *parameters: object) -> list[str]:
        """The first column of every row."""
        return [row[0] for row in self._connection.execute(statement, parameters)]

    def close(self) -> None:
        """Closes it."""
        self._connection.close()


class Records:
    """The records of both notification services."""

    def __init__(self, databases: Path) -> None:
        self._readings = [Reading(databases / f"{consumer}.db") for consumer in _CONSUMERS]

    def marks(self) -> list[int]:
        """The last record of each: what comes later is new."""
        return [reading.number(f"SELECT max(sequence) FROM {NOTIFICATIONS.name}") for reading in self._readings]

    def wait(self, marks: list[int], orders: list[str]) -> float:
        """The moment (time.monotonic) both had recorded exactly `orders` since `marks`. Raises Unsound."""
        ended = until(lambda: all(now - mark >= len(orders) for mark, now in zip(marks, self.marks(), strict=True)))
        self.verify(marks, orders)
        return ended

    def verify(self, marks: list[int], orders: list[str]) -> None:
        """Holds what is new since `marks` against `orders`. Raises Unsound."""
        for reading, mark in zip(self._readings, marks, strict=True):
            found = reading.texts(f"SELECT order_id FROM {NOTIFICATIONS.name} WHERE sequence > ?", mark)
            if sorted(found) != sorted(orders):
                raise Unsound(f"{len(orders)} orders were accepted, but {len(found)} others were recorded")

    def has(self, order_id: str) -> bool:
        """Whether both have recorded something of that order."""
        statement = f"SELECT count(*) FROM {NOTIFICATIONS.name} WHERE consumer = ? AND order_id = ?"
        found = zip(self._readings, _CONSUMERS, strict=True)
        return all(reading.number(statement, consumer, order_id) for reading, consumer in found)

    def close(self) -> None:
        """Closes the connections."""
        for reading in self._readings:
            reading.close()


def outbox(databases: Path) -> "closing[Reading]":
    """The Order Service's database."""
    return closing(Reading(databases / "order.db"))


def oldest_waiting(reading: Reading) -> int:
    """The sequence of the oldest event in the outbox, 0 when none waits."""
    return reading.number(f"SELECT min(sequence) FROM {OUTBOX.table.name}")


def until(condition: Callable[[], bool], patience: float = _PATIENCE, poll: float = _POLL) -> float:
    """Waits for `condition`; the moment it was found true (time.monotonic). Raises Unsound."""
    end = time.monotonic() + patience
    while not condition():
        if time.monotonic() > end:
            raise Unsound(f"did not happen within {patience:.0f} s")
        time.sleep(poll)
    return time.monotonic()
