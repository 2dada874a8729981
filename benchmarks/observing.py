"""Reads the databases of running services: the measurements take from there what was recorded or relayed, and when.

Nothing is written.
"""

import sqlite3
import time
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

from ordersys.notification_service.inbox import NOTIFICATIONS
from ordersys.order_service.store import OUTBOX

_POLL = 0.002  # seconds between two reads: less would compete with the services for the cores
_PATIENCE = 120.0  # seconds until a run fails: a slow machine takes longer, a lost event takes for ever
_CONSUMERS = ("notification-service-1", "notification-service-2")


class Unsound(Exception):
    """A measurement is invalid: orders are missing, or calls failed; the text says which."""


class Reading:
    """A connection that only reads a database in use."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)

    def number(self, statement: str, *parameters: object) -> int:
        """The number that a statement returns; 0 for no row."""
        row = self._connection.execute(statement, parameters).fetchone()
        return int(row[0] or 0) if row else 0

    def texts(self, statement: str, *parameters: object) -> list[str]:
        """The first column of every row."""
        return [row[0] for row in self._connection.execute(statement, parameters)]

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


class Records:
    """The records of both notification services."""

    def __init__(self, databases: Path) -> None:
        self._readings = [Reading(databases / f"{consumer}.db") for consumer in _CONSUMERS]

    def marks(self) -> list[int]:
        """The sequence of the last record of each; later records are new."""
        return [reading.number(f"SELECT max(sequence) FROM {NOTIFICATIONS.name}") for reading in self._readings]

    def wait(self, marks: list[int], orders: list[str]) -> float:
        """The moment (time.monotonic) both had recorded exactly `orders` since `marks`. Raises Unsound."""
        ended = until(lambda: all(now - mark >= len(orders) for mark, now in zip(marks, self.marks(), strict=True)))
        self.verify(marks, orders)
        return ended

    def verify(self, marks: list[int], orders: list[str]) -> None:
        """Compares the records since `marks` with `orders`. Raises Unsound."""
        for reading, mark in zip(self._readings, marks, strict=True):
            recorded = reading.texts(f"SELECT order_id FROM {NOTIFICATIONS.name} WHERE sequence > ?", mark)
            if sorted(recorded) != sorted(orders):
                raise Unsound(f"{len(orders)} orders were accepted, but {len(recorded)} records are not of just these")

    def has(self, order_id: str) -> bool:
        """True if both have a record of that order."""
        statement = f"SELECT count(*) FROM {NOTIFICATIONS.name} WHERE consumer = ? AND order_id = ?"
        databases = zip(self._readings, _CONSUMERS, strict=True)
        return all(reading.number(statement, consumer, order_id) for reading, consumer in databases)

    def close(self) -> None:
        """Closes the connections."""
        for reading in self._readings:
            reading.close()


def outbox(databases: Path) -> "closing[Reading]":
    """Opens the Order Service's database."""
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
