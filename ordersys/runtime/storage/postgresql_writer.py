"""A writer of a PostgreSQL database: a thread with a connection of its own, which runs one transaction at a time.

All of a transaction goes to the server in as few trips as its reads allow, as a pipeline: locks are held while the
server works, hardly while Python waits for its turn. One that meets another one, or whose connection is lost, is done
again as a whole, on a new connection if need be. That resolves a commit that was not answered as well: whatever is
written is found by its id, and not written twice.
"""

import time
from contextlib import suppress
from typing import Any

import psycopg
from sqlalchemy import Connection
from sqlalchemy import Engine as SqlEngine
from sqlalchemy.exc import DBAPIError

from ordersys.runtime.base.backoff import jittered_backoff
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.storage.errors import CommitUnknown, StorageUnavailable
from ordersys.runtime.storage.interface import Operation
from ordersys.runtime.storage.postgresql_connection import (
    CommitInDoubt,
    Trouble,
    cause_of,
    rolled_back,
    shut_down,
    trouble,
    words,
)
from ordersys.runtime.storage.statements import driver_of, set_repeated
from ordersys.runtime.storage.worker import Worker

GIVE_UP_SECONDS = 4.0  # for a transaction: less than a call between the services may take
_MOST_RACES = 6  # a transaction that loses more often is done in halves: one of its items is the cause


class Writer:
    """A thread with a connection of its own, which runs one transaction at a time."""

    def __init__(self, pool: SqlEngine) -> None:
        self.thread = Worker("writer")
        self._pool = pool
        self._connection: Connection | None = None
        self._driver: Any = None
        """The driver's connection below it."""
        self._committing = False
        self._given_up = False
        self._distrusted = False

    def transact(self, operation: Operation, items: list[Any]) -> list[Any]:
        """The result of each item. Runs in the thread."""
        self._given_up = False
        if self._distrusted:
            self._drop()
        return self._transact(operation, items, time.monotonic() + GIVE_UP_SECONDS, repeated=False)

    def give_up(self) -> None:
        """Has the transaction under way end, whatever the server does. Called by another thread."""
        self._given_up = True
        # The driver's: SQLAlchemy's may be closed by its own thread between any two looks at it.
        if (driver := self._driver) is not None:
            shut_down(driver)

    def distrust(self) -> None:
        """Has the next transaction make a connection of its own. Called by another thread."""
        self._distrusted = True

    async def close(self) -> None:
        """Ends the thread, and closes the connection."""
        await self.thread.do(self._drop)
        self.thread.end()

    def _transact(self, operation: Operation, items: list[Any], until: float, repeated: bool) -> list[Any]:
        is_unknown = False
        races = 0
        for pause in jittered_backoff(0.005, 0.5):
            try:
                return self._attempt(operation, items, repeated)
            except Exception as error:  # noqa: BLE001 - the result of each item, where the same again does not help
                met = trouble(error)
                is_unknown = is_unknown or (met is Trouble.GONE and self._committing)
                self._clean_up(met)
                if isinstance(error, CommitInDoubt):
                    return [CommitUnknown(words(error))] * len(items)
                races += met is Trouble.RACE
                if met is Trouble.BUG or races > _MOST_RACES:
                    return self._halved(operation, items, until, error)
                if time.monotonic() + pause > until or self._given_up:
                    kind = CommitUnknown if is_unknown else StorageUnavailable
                    return [kind(words(error))] * len(items)
            # Whatever was read without a lock is read with one from now on.
            repeated = True
            time.sleep(pause)
        raise AssertionError("pauses have no end")

    def _halved(self, operation: Operation, items: list[Any], until: float, error: Exception) -> list[Any]:
        """All was undone; the item whose fault it was is found by halves, and no other one fails with it."""
        if len(items) == 1:
            return [cause_of(error)]
        middle = len(items) // 2
        until = max(until, time.monotonic() + GIVE_UP_SECONDS / 2)
        return [
            *self._transact(operation, items[:middle], until, repeated=True),
            *self._transact(operation, items[middle:], until, repeated=True),
        ]

    def _attempt(self, operation: Operation, items: list[Any], repeated: bool) -> list[Any]:
        self._committing = False
        connection = self._connected()
        driver = self._driver = driver_of(connection)
        if self._given_up:  # while it was made, which may take longer: nothing would end the wait for its server
            raise psycopg.OperationalError("the connection was made too late")
        driver.is_doubtful = False
        set_repeated(connection, repeated)
        with driver.pipeline():
            driver.execute("BEGIN")
            results = list(operation(connection, items))
            if len(results) != len(items):
                raise RuntimeError(f"{operation!r} answered {len(results)} of {len(items)} items")
            failpoint("postgresql.performed")
            self._committing = True
            committed = driver.execute("COMMIT")
        if committed.statusmessage != "COMMIT":  # of a transaction that had failed it makes a rollback, and says OK
            raise psycopg.errors.InFailedSqlTransaction(f"a transaction ended with {committed.statusmessage}")
        failpoint("postgresql.committed")
        if driver.is_doubtful:
            raise CommitInDoubt("it was committed, and the server does not say that its standby has it")
        return results

    def _connected(self) -> Connection:
        if self._connection is None:
            self._connection = self._pool.connect()
        return self._connection

    def _clean_up(self, met: Trouble) -> None:
        """Ends the transaction that failed. A server that takes no writes now may be the wrong one of several."""
        if self._connection is None:
            return
        if met in (Trouble.GONE, Trouble.NOT_NOW) or not rolled_back(driver_of(self._connection)):
            self._drop()

    def _drop(self) -> None:
        self._distrusted = False
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(DBAPIError, psycopg.Error):
                connection.invalidate()
            with suppress(DBAPIError, psycopg.Error):
                connection.close()
