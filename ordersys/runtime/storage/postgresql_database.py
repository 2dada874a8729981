"""A database in PostgreSQL, shared by any number of processes of a service.

Each operation has a lane of its own: a batch of it is one transaction of one of the writers, and rows are locked in one
order everywhere, so that transactions hardly ever wait for each other in a circle.
"""

import asyncio
import logging
import os
import secrets
import socket
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import Any, NamedTuple, TypeVar

import psycopg
from sqlalchemy import Connection
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from ordersys.runtime.base.backoff import jittered_backoff
from ordersys.runtime.base.database_url import DatabaseUrl
from ordersys.runtime.base.leadership import Leadership
from ordersys.runtime.batching import Batcher
from ordersys.runtime.metrics.instruments import Stopwatch
from ordersys.runtime.storage import postgresql_schema
from ordersys.runtime.storage.errors import CommitUnknown, StorageUnavailable
from ordersys.runtime.storage.interface import Operation
from ordersys.runtime.storage.measures import Measures
from ordersys.runtime.storage.postgresql_connection import (
    Trouble,
    cause_of,
    engine,
    shut_down,
    state_of,
    trouble,
    way_out,
    words,
)
from ordersys.runtime.storage.postgresql_writer import GIVE_UP_SECONDS, Writer
from ordersys.runtime.storage.schema import ForeignDatabase, Schema, UnusableDatabase
from ordersys.runtime.storage.statements import driver_of
from ordersys.runtime.storage.traces import Written, committed
from ordersys.runtime.storage.trouble_log import TroubleLog
from ordersys.runtime.tracing.spans import now

R = TypeVar("R")
T = TypeVar("T")
_log = logging.getLogger(__name__)
_BATCH = 256  # items of an operation in a transaction
_WRITERS = 3  # transactions at a time: one of them often waits for rows that another process has locked
_READERS = 2
_OPEN_SECONDS = 20.0  # for the server to come at the start, and for another process to make or upgrade the tables
_ANSWER_SECONDS = 8.0  # for a commit that is not answered, such as one that waits for a standby that is gone
_READ_SECONDS = 5.0  # for a read, which takes milliseconds unless it waits for a lock, and then no longer than that
_PROBE_SECONDS = 5.0
_LEASE_SECONDS = 10.0
_MARGIN_SECONDS = 1.0  # of a lease: what is begun under it should end under it
_LEADER = "leader"
# The server's clock, and not that at the beginning of the transaction; one trip, whoever has it.
_TAKE = """
    INSERT INTO leases (name, holder, until)
    VALUES (%(name)s, %(holder)s, clock_timestamp() + make_interval(secs => %(seconds)s))
    ON CONFLICT (name) DO UPDATE SET holder = excluded.holder, until = excluded.until
    WHERE leases.holder = excluded.holder OR leases.until < clock_timestamp()
    RETURNING holder
"""
_GIVE_BACK = "DELETE FROM leases WHERE name = %s AND holder = %s"
_WRITABLE = "SELECT NOT pg_is_in_recovery() AND current_setting('transaction_read_only') = 'off'"


class _Write(NamedTuple):
    """The items handed in by one call."""

    items: list[Any]
    alone: bool
    """True for one item, whose result is the result."""


class PostgreSQLDatabase:
    """An open database. Made by `PostgreSQLDatabase.open`."""

    def __init__(self, url: DatabaseUrl, schema: Schema) -> None:
        self.url = url
        self.leadership = Leadership(shared=True)
        self._schema = schema
        self._engine = engine(url, postgresql_schema.name_of(schema), _WRITERS + _READERS)
        self._holder = f"{socket.gethostname()}/{os.getpid()}/{secrets.token_hex(4)}"
        self._readers = ThreadPoolExecutor(_READERS, "reader")
        self._reading: dict[Any, float] = {}
        """The driver's connections that read, and since when."""
        self._lanes: dict[Operation, Batcher[_Write, Any]] = {}
        self._writers: list[Writer] = []
        self._free: asyncio.Queue[Writer] = asyncio.Queue()
        self._after_commit: list[Callable[[], None]] = []
        self._trouble = TroubleLog(str(url))
        self._stuck = False
        self._taking: asyncio.Future[bool] | None = None
        """The lease that was asked for last."""
        self._measures = Measures(self.leadership)

    @classmethod
    async def open(
        cls, url: DatabaseUrl, schema: Schema, first: Callable[[Connection], None] = lambda connection: None
    ) -> "PostgreSQLDatabase":
        """Makes or upgrades the tables, whichever process is the first; `first` fills new ones in that transaction.

        Raises UnusableDatabase.
        """
        database = cls(url, schema)
        try:
            await database._prepare(first)
        except BaseException:
            await database.close()
            raise
        for _ in range(_WRITERS):
            writer = Writer(database._engine)
            database._writers.append(writer)
            database._free.put_nowait(writer)
        return database

    def write(
        self, operation: Callable[[Connection, list[Any]], Sequence[R | Exception]], item: Any, urgent: bool = True
    ) -> "asyncio.Future[R]":
        """See `Storage.write`."""
        return self._lane(operation).submit(_Write([item], alone=True), urgent)

    def write_each(
        self, operation: Callable[[Connection, list[T]], Sequence[R]], items: list[T], urgent: bool = True
    ) -> "asyncio.Future[list[R | Exception]]":
        """See `Storage.write_each`."""
        return self._lane(operation).submit(_Write(items, alone=False), urgent)

    async def read(self, query: Callable[..., R], *arguments: Any) -> R:
        """See `Storage.read`. Runs in a reader's thread, each statement a transaction of its own."""
        reading = asyncio.get_running_loop().run_in_executor(self._readers, self._read, query, arguments)
        try:
            with self._measures.reading():
                while not (await asyncio.wait([reading], timeout=_READ_SECONDS))[0]:
                    self._end_stuck_reads()
            return reading.result()
        except asyncio.CancelledError:
            reading.cancel()
            raise
        except (DBAPIError, psycopg.Error, PoolTimeoutError) as error:
            if trouble(error) is Trouble.BUG and not isinstance(error, PoolTimeoutError):
                raise
            raise self._unavailable(f"can't be read: {words(error)}") from error

    def after_commit(self, tell: Callable[[], None]) -> None:
        """See `Storage.after_commit`."""
        self._after_commit.append(tell)

    async def probe(self) -> bool:
        """True when the server takes writes, and the last commit was answered; 5 s without an answer is none."""
        self._end_stuck_reads()
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                return self._measures.probed(bool(await self.read(_is_writable)) and not self._stuck)
        except (StorageUnavailable, TimeoutError):
            return self._measures.probed(False)

    async def lead(self) -> None:
        """Takes the lease, or renews it; to be called every 3 s. Raises StorageUnavailable, CommitUnknown."""
        asked = time.monotonic()
        self._taking = self.write(_take_lease, self._holder)
        if await asyncio.shield(self._taking):
            self.leadership.renew(asked + _LEASE_SECONDS - _MARGIN_SECONDS)
        else:
            self.leadership.lose()

    async def close(self) -> None:
        """Finishes what was handed in, gives the lease back, and closes the connections."""
        if self._writers:
            await self._give_lease_back()
        for lane in list(self._lanes.values()):
            await lane.drained()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._readers.shutdown)
        writers, self._writers = self._writers, []  # closed twice, it is closed once
        for writer in writers:
            await writer.close()
        await loop.run_in_executor(None, self._engine.dispose)

    async def _give_lease_back(self) -> None:
        """Also one that is given only now: `lead` is cancelled at SIGTERM, what it has asked for is not."""
        has_it = False
        with suppress(StorageUnavailable, CommitUnknown):
            # First: operations are not ordered, and it could be taken again behind its return.
            has_it = self._taking is not None and await self._taking
        if has_it or self.leadership.held:
            self.leadership.lose()
            with suppress(StorageUnavailable, CommitUnknown):
                await self.write(_give_lease_back, self._holder)

    def _lane(self, operation: Operation) -> "Batcher[_Write, Any]":
        lane = self._lanes.get(operation)
        if lane is None:
            lane = self._lanes[operation] = Batcher(partial(self._commit, operation), _BATCH, name="commit")
        return lane

    async def _commit(self, operation: Operation, batch: list[_Write]) -> Sequence[Any]:
        items = [item for write in batch for item in write.items]
        began = now()
        answers = await self._transacted(operation, items)
        # Before anybody is answered, and also where whoever waited has gone (see database.py).
        for tell in self._after_commit:
            tell()
        committed(self._schema.owner, "postgresql", began, (Written(operation, items, answers),))
        results: list[Any] = []
        first = 0
        for write in batch:
            of_write = answers[first : first + len(write.items)]
            first += len(write.items)
            results.append(of_write[0] if write.alone else of_write)
        return results

    async def _transacted(self, operation: Operation, items: list[Any]) -> list[Any]:
        """The result of each item, in one transaction if it can be."""
        try:
            async with asyncio.timeout(_ANSWER_SECONDS):
                writer = await self._free.get()
        except TimeoutError:
            return [self._unavailable("can't be written: earlier transactions are not answered")] * len(items)
        try:
            with Stopwatch(self._measures.commit_seconds):
                transaction = writer.thread.do(writer.transact, operation, items)
                done, _ = await asyncio.wait([transaction], timeout=_ANSWER_SECONDS)
                if not done:
                    self._stuck = True
                    writer.give_up()  # which ends the wait for the server
                    self._distrust_connections()
                answers = await transaction
        finally:
            self._free.put_nowait(writer)
        return self._told(answers)

    def _told(self, answers: list[Any]) -> list[Any]:
        """The results, with a word for the log where the database could not be used."""
        for answer in answers:
            if isinstance(answer, CommitUnknown | StorageUnavailable):
                text = f"can't be written: {answer}"
                self._trouble.met(text)
                kind = type(answer)
                return [kind(f"database {self.url} {text}") if isinstance(each, kind) else each for each in answers]
        self._stuck = False
        self._trouble.done()
        return answers

    def _read(self, query: Callable[..., R], arguments: tuple[Any, ...]) -> R:
        until = time.monotonic() + GIVE_UP_SECONDS
        for pause in jittered_backoff(0.02, 0.5):
            try:
                with self._engine.connect() as connection:
                    driver = driver_of(connection)
                    self._reading[driver] = time.monotonic()
                    try:
                        return query(connection, *arguments)
                    except (DBAPIError, psycopg.Error) as error:
                        if trouble(error) in (Trouble.GONE, Trouble.NOT_NOW):
                            connection.invalidate(cause_of(error))
                        raise
                    finally:
                        del self._reading[driver]
            except (DBAPIError, psycopg.Error) as error:
                if trouble(error) is Trouble.BUG or time.monotonic() > until:
                    raise
            time.sleep(pause)
        raise AssertionError("pauses have no end")

    def _end_stuck_reads(self) -> None:
        """A server that hangs, and whose machine lives, keeps a read for ever: it is tried again, on the next one."""
        stuck = [each for each, began in list(self._reading.items()) if time.monotonic() > began + _READ_SECONDS]
        for connection in stuck:
            shut_down(connection)
        if stuck:
            self._distrust_connections()

    def _distrust_connections(self) -> None:
        """Has those made anew that nobody waits at: they lead to the same server, and would be tried in turn."""
        self._engine.dispose()
        for writer in self._writers:
            writer.distrust()

    async def _prepare(self, first: Callable[[Connection], None]) -> None:
        """Waits for a server that is not there yet, and for a process that is at the tables before this one."""
        loop = asyncio.get_running_loop()
        until, said = time.monotonic() + _OPEN_SECONDS, ""
        for pause in jittered_backoff(0.1, 1.0):
            try:
                about, *doubts = await loop.run_in_executor(
                    self._readers, postgresql_schema.prepare, self._engine, self._schema, first
                )
            except ForeignDatabase as error:
                remedy = "name another one with ORDERSYS_DATABASE_URL"
                raise UnusableDatabase(f"database {self.url}: {error.fact}; {remedy}") from error
            except UnusableDatabase as error:
                raise UnusableDatabase(f"database {self.url}: {error}") from error
            except (DBAPIError, psycopg.Error) as error:
                text = words(error)
                if trouble(error) is Trouble.BUG or time.monotonic() > until:
                    remedy = way_out(state_of(error), postgresql_schema.name_of(self._schema))
                    raise UnusableDatabase(f"database {self.url}: {text}; {remedy}") from error
                if text != said:
                    _log.warning("waiting for database %s: %s", self.url, text)
                said = text
                await asyncio.sleep(pause)
            else:
                _log.info("the state is in PostgreSQL: %s, %s", self.url, about)
                for doubt in doubts:
                    _log.warning("database %s: %s", self.url, doubt)
                return

    def _unavailable(self, text: str) -> StorageUnavailable:
        self._trouble.met(text)
        return StorageUnavailable(f"database {self.url} {text}")


def _is_writable(connection: Connection) -> bool:
    (row,) = driver_of(connection).execute(_WRITABLE).fetchall()
    return bool(row[0])


def _take_lease(connection: Connection, holders: list[str]) -> list[bool]:
    """An operation: whether each has the lease, from now on or still."""
    given = {"name": _LEADER, "holder": holders[0], "seconds": _LEASE_SECONDS}
    rows = driver_of(connection).execute(_TAKE, given).fetchall()
    return [bool(rows)] * len(holders)


def _give_lease_back(connection: Connection, holders: list[str]) -> list[None]:
    """An operation: the next one need not wait until it ends."""
    driver_of(connection).execute(_GIVE_BACK, (_LEADER, holders[0]))
    return [None] * len(holders)
