"""Reads the databases of running services: the measurements take from there what was recorded or relayed, and when.

Nothing is written. The same statements are understood by SQLite and PostgreSQL.
"""

import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from ordersys.notification_service.inbox import NOTIFICATIONS
from ordersys.order_service.store import OUTBOX

_POLL = 0.002  # seconds between two reads: less would compete with the services for the cores
_PATIENCE = 120.0  # seconds until a run fails: a slow machine takes longer, a lost event takes for ever
_POLL_SERVER = 0.02  # each read takes a server some tenths of a millisecond, which count as those of the orders
CONSUMERS = ("notification-service-1", "notification-service-2")


class Unsound(Exception):
    """A measurement is invalid: orders are missing, or calls failed; the text says which."""


class Reading:
    """A connection that only reads a database file in use."""

    poll = _POLL
    """Seconds between two reads of something that is waited for."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(f"file:{path}?mode=ro", uri=True, isolation_level=None)

    def number(self, statement: str, *parameters: object) -> int:
        """The number that a statement returns; 0 for no row."""
        row = self._connection.execute(statement, parameters).fetchone()
        return int(row[0] or 0) if row else 0

    def texts(self, statement: str, *parameters: object) -> list[str]:
        """The first column of every row."""
        return [row[0] for row in self._connection.execute(statement, parameters)]

    def since(self, mark: int) -> int:
        """The number of notifications behind `mark`: in a file no number of the sequence is left out."""
        return self.number(f"SELECT max(sequence) FROM {NOTIFICATIONS.name}") - mark

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()


class SharedReading:
    """The same of a service's schema in a PostgreSQL. Raises psycopg.Error."""

    poll = _POLL_SERVER

    def __init__(self, url: str, schema: str) -> None:
        import psycopg  # noqa: PLC0415 - for those who measure it

        self._connection = psycopg.connect(url, autocommit=True, options=f"-c search_path={schema}")

    def number(self, statement: str, *parameters: object) -> int:
        """The number that a statement returns; 0 for no row."""
        row = self._rows(statement, parameters).fetchone()
        return int(row[0] or 0) if row else 0

    def texts(self, statement: str, *parameters: object) -> list[str]:
        """The first column of every row."""
        return [row[0] for row in self._rows(statement, parameters)]

    def since(self, mark: int) -> int:
        """The number of notifications behind `mark`, counted: what was rolled back leaves numbers out."""
        return self.number(f"SELECT count(*) FROM {NOTIFICATIONS.name} WHERE sequence > ?", mark)

    def close(self) -> None:
        """Closes the connection."""
        self._connection.close()

    def _rows(self, statement: str, parameters: tuple[object, ...]) -> Any:
        return self._connection.execute(statement.replace("?", "%s"), parameters)


AnyReading = Reading | SharedReading


class Records:
    """The records of both notification services."""

    def __init__(self, readings: Sequence[AnyReading]) -> None:
        self._readings = readings
        self._poll = max(reading.poll for reading in readings)

    @classmethod
    def in_files(cls, databases: Path) -> "Records":
        """Those in the files of a folder."""
        return cls([Reading(databases / f"{consumer}.db") for consumer in CONSUMERS])

    def marks(self) -> list[int]:
        """The sequence of the last record of each; later records are new."""
        return [reading.number(f"SELECT max(sequence) FROM {NOTIFICATIONS.name}") for reading in self._readings]

    def since(self, marks: list[int]) -> list[int]:
        """The number of records of each since `marks`."""
        return [reading.since(mark) for reading, mark in zip(self._readings, marks, strict=True)]

    def wait(self, marks: list[int], orders: list[str]) -> float:
        """The moment (time.monotonic) both had recorded exactly `orders` since `marks`. Raises Unsound."""
        ended = until(lambda: min(self.since(marks)) >= len(orders), poll=self._poll)
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
        databases = zip(self._readings, CONSUMERS, strict=True)
        return all(reading.number(statement, consumer, order_id) for reading, consumer in databases)

    def close(self) -> None:
        """Closes the connections."""
        for reading in self._readings:
            reading.close()


def outbox(databases: Path) -> "closing[Reading]":
    """Opens the Order Service's database."""
    return closing(Reading(databases / "order.db"))


def oldest_waiting(reading: AnyReading) -> int:
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
