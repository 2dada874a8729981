"""One database a process: a single writer thread with group commit, reading threads beside it.

What `write` answers is on disk (WAL with synchronous=FULL survives power loss). SQLite may corrupt a WAL with
two writing connections, so a file belongs to one process: a second one waits, then says so. Whether the file is still
the one, and what a damaged or exchanged one looks like: `database_file`.
"""

import asyncio
import logging
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from sqlalchemy import (
    Connection,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from ordersys.runtime.base.backoff import jittered_backoff
from ordersys.runtime.base.failpoints import failpoint
from ordersys.runtime.base.leadership import Leadership
from ordersys.runtime.batching import Batcher
from ordersys.runtime.metrics.instruments import Stopwatch
from ordersys.runtime.storage import marks
from ordersys.runtime.storage.database_file import IN_USE, DatabaseFile
from ordersys.runtime.storage.engine import look_through, open_engine
from ordersys.runtime.storage.errors import FileLost, StorageUnavailable
from ordersys.runtime.storage.interface import Operation
from ordersys.runtime.storage.measures import Measures
from ordersys.runtime.storage.schema import Schema, UnusableDatabase
from ordersys.runtime.storage.sqlite_errors import file_error, hinders_all, is_damage, is_read_only
from ordersys.runtime.storage.statements import driver_of
from ordersys.runtime.storage.traces import Written, committed
from ordersys.runtime.storage.trouble_log import TroubleLog
from ordersys.runtime.storage.worker import Worker
from ordersys.runtime.tracing.spans import now

R = TypeVar("R")
T = TypeVar("T")
_log = logging.getLogger(__name__)
_BATCH = 256  # writes in a commit: with more nothing is saved, and the first waits for the last
_READERS = 4  # lists at a time; each may look at many rows
_LOCK_SECONDS = 15.0  # for a process before this one to end: longer than the usual grace period
_PROBE_SECONDS = 5.0  # a disk that takes longer is told of as one that can't be written


class Database:
    """An open database. Made by `Database.open`."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self.path = path
        self.leadership = Leadership(shared=False)
        self._schema = schema
        self._file = DatabaseFile(path, schema.owner)
        self._trouble = TroubleLog(str(path))
        self._writer_thread = Worker("writer")
        self._reader_threads = ThreadPoolExecutor(_READERS, "reader")
        self._writes: Batcher[_Write, Any] = Batcher(self._commit, _BATCH, name="commit")
        self._measures = Measures(self.leadership)
        self._after_commit: list[Callable[[], None]] = []

    @classmethod
    async def open(
        cls, path: Path, schema: Schema, first: Callable[[Connection], None] = lambda connection: None
    ) -> "Database":
        """Opens, upgrades or makes the file at `path`; `first` fills a new one, in the transaction that makes it.

        A file that is damaged, or not the one that was used here, is refused before anything is written to it.
        Raises UnusableDatabase.
        """
        if "\0" in str(path):
            raise UnusableDatabase(f"database {str(path)!r}: its path has a NUL in it")
        database = cls(path, schema)
        try:
            await database._take()
            await database._writer_thread.do(database._connect, first)
        except BaseException as error:
            await database.close()
            if isinstance(error, UnusableDatabase | OSError) or file_error(error):
                raise UnusableDatabase(f"database {path}: {database._reason(error)}") from error
            raise
        _log.info("the state is in SQLite: %s", path)
        return database

    def write(
        self, operation: Callable[[Connection, list[Any]], Sequence[R | Exception]], item: Any, urgent: bool = True
    ) -> "asyncio.Future[R]":
        """Hands `item` to `operation`, in the writer's thread; the future has its result once the commit is on disk.

        Items of one operation that arrive while a commit is under way share the next one. An operation that
        fails is tried again for each item alone, so that one item never fails another. An item that is not urgent
        joins the next commit somebody waits for, or is committed after 50 ms. Cancelling the future before its batch
        begins withdraws the item; later it only ends the waiting.
        Raises StorageUnavailable when the file can't be written, or is no longer the one at its path.
        """
        return self._writes.submit(_Write(operation, [item], alone=True), urgent)

    def write_each(
        self, operation: Callable[[Connection, list[T]], Sequence[R]], items: list[T], urgent: bool = True
    ) -> "asyncio.Future[list[R | Exception]]":
        """As `write` for each of `items`, in one commit where none fails: the future has a result for each, in order.

        It has no exception of its own: whatever is raised, StorageUnavailable included, is the result of its item.
        """
        return self._writes.submit(_Write(operation, items, alone=False), urgent)

    async def read(self, query: Callable[..., R], *arguments: Any) -> R:
        """The result of `query(connection, *arguments)`, from committed data. Runs in a reader's thread.

        Raises StorageUnavailable when the file can't be read: it may be locked, or no descriptor be left.
        """
        loop = asyncio.get_running_loop()
        try:
            with self._measures.reading():
                return await loop.run_in_executor(self._reader_threads, self._read, query, arguments)
        except (FileLost, DBAPIError, sqlite3.Error) as error:
            # A reader can't write at all: a query that tries is a bug.
            if (cause := file_error(error)) is None or is_read_only(cause):
                raise
            raise self._unavailable(f"can't be read: {self._met(cause)}") from error

    def after_commit(self, tell: Callable[[], None]) -> None:
        """Has `tell` called in the event loop after each batch of writes, whoever still waits for their results."""
        self._after_commit.append(tell)

    async def probe(self) -> bool:
        """True when the file can be written, found out by a write: one that takes longer than 5 s counts as failed."""
        self._file.keep_lock()
        touched = self.write(self._schema.touch, None)
        touched.add_done_callback(_seen)
        written, _ = await asyncio.wait([touched], timeout=_PROBE_SECONDS)
        return self._measures.probed(bool(written) and not touched.cancelled() and touched.exception() is None)

    async def lead(self) -> None:
        """A file belongs to one process, which leads it."""

    async def close(self) -> None:
        """Finishes what was handed in and closes the file."""
        await self._writes.drained()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._reader_threads.shutdown)
        await self._writer_thread.do(self._disconnect)
        self._writer_thread.end()
        self._file.release()

    async def _take(self) -> None:
        """Takes the lock file, then the file, so that whoever is first has both."""
        pauses = jittered_backoff(0.05, 1.0)
        until = time.monotonic() + _LOCK_SECONDS
        for take in (self._file.take_lock, self._file.take):
            while not take():
                if time.monotonic() > until:
                    raise UnusableDatabase(IN_USE)
                _log.warning("waiting for database %s: another process uses it", self.path)
                await asyncio.sleep(next(pauses))

    def _connect(self, first: Callable[[Connection], None]) -> None:
        self._look()
        # FULL: with NORMAL a power failure may undo the last commits of a WAL (https://www.sqlite.org/pragma.html,
        # synchronous). It costs 7 µs an order where 24 share a commit (docs/performance.md, "not worth it").
        self._writer = open_engine(
            self._file.real, "rwc", StaticPool, "PRAGMA synchronous=FULL", "PRAGMA journal_mode=WAL"
        )
        with self._writer.begin() as connection:
            if self._schema.apply(connection):
                first(connection)
            if is_unmarked := self._file.mark.lineage == 0:
                self._file.next_mark(driver_of(connection))
        self._readers = open_engine(self._file.real, "ro", QueuePool, pool_size=_READERS)
        self._connection = self._writer.connect()
        if is_unmarked:
            # The lineage has to stand in the file itself before anything is answered: a WAL is held against it.
            driver_of(self._connection).execute("PRAGMA wal_checkpoint(TRUNCATE)")
        # Open from now on: as long as a reader is, closing the writer leaves the WAL as it is.
        self._keeper = self._readers.connect()
        self._keeper.exec_driver_sql("SELECT count(*) FROM sqlite_schema")
        self._keeper.rollback()
        self._file.opened(marks.of_connection(driver_of(self._connection)))

    def _look(self) -> None:
        """Looks before anything is written: a file that is not ours, or not sound, stays as it is, to the byte."""
        log, is_doubtful = self._file.look()
        if self._file.real.stat().st_size == 0:
            return
        # The last connection to close empties the WAL into the file, unless it can't write.
        looking = open_engine(self._file.real, "ro" if log.frames else "rw", NullPool)
        with looking.connect() as connection:
            self._schema.check(connection)
            self._file.compare(marks.of_connection(driver_of(connection)), self._file.witness)
            look_through(connection, is_doubtful, self.path)

    def _disconnect(self) -> None:
        """Closes the readers first: the last connection to close is the one that empties the WAL into the file.

        Over a file that is not ours, or damaged, nothing more may be written: then a reader is the last.
        """
        is_ours = self._file.is_ours()
        if hasattr(self, "_keeper") and is_ours:
            self._keeper.close()
            self._readers.dispose()
        if hasattr(self, "_connection"):
            self._connection.close()
        if hasattr(self, "_writer"):
            self._writer.dispose()
        if hasattr(self, "_keeper") and not is_ours:
            self._keeper.close()
            self._readers.dispose()

    def _read(self, query: Callable[..., R], arguments: tuple[Any, ...]) -> R:
        self._file.check_paths()
        with self._readers.connect() as connection:
            return query(connection, *arguments)

    async def _commit(self, batch: list["_Write"]) -> Sequence[Any]:
        began = now()
        results = await self._writer_thread.do(self._transact, batch)
        # Before anybody is answered, and also where whoever waited has gone: the event of a change must not wait for
        # the next one (docs/reliability.md, "a deadline that ends while its change is committed").
        for tell in self._after_commit:
            tell()
        causes = [cause for of_write in results for result in of_write if (cause := file_error(result))]
        if not causes:
            self._trouble.done()
        else:
            unavailable = self._unavailable(f"can't be written: {self._met(causes[0])}")
            results = [[unavailable if file_error(result) else result for result in of_write] for of_write in results]
        pairs = list(zip(batch, results, strict=True))
        written = (Written(write.operation, write.items, of_write) for write, of_write in pairs)
        committed(self._schema.owner, "sqlite", began, written)
        return [of_write[0] if write.alone else of_write for write, of_write in pairs]

    def _transact(self, batch: list["_Write"]) -> list[list[Any]]:
        """All in one transaction; should it fail, each item in one of its own. The results of each write."""
        try:
            self._check()
            with Stopwatch(self._measures.commit_seconds), self._transaction():
                results = _perform(self._connection, batch)
                self._file.next_mark(driver_of(self._connection))
                failpoint("database.performed")
            failpoint("database.committed")
            self._file.answered()
        except Exception as error:  # noqa: BLE001 - raised for its item, or for all
            if sum(len(write.items) for write in batch) == 1 or hinders_all(error):
                return [[error] * len(write.items) for write in batch]
        else:
            return results
        return [
            # All was undone, and whose fault it was nobody knows: each in a commit of its own, so that one item never
            # fails another. That costs some 0.3 ms a commit (docs/performance.md, S2), and happens only after a bug or
            # a broken disk.
            [self._transact([_Write(write.operation, [item], alone=True)])[0][0] for item in write.items]
            for write in batch
        ]

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One of the driver's own: SQLAlchemy's costs as much as the commit of a few rows.

        An operation may use SQLAlchemy all the same, which takes part in it (see `_engine`).
        """
        driver = driver_of(self._connection)
        driver.execute("BEGIN IMMEDIATE")
        try:
            yield
            driver.execute("COMMIT")
        finally:
            # After a full disk or an I/O error SQLite has rolled back by itself
            # (https://www.sqlite.org/lang_transaction.html, 2.3).
            if driver.in_transaction:
                driver.execute("ROLLBACK")
            if self._connection.in_transaction():
                self._connection.rollback()

    def _check(self) -> None:
        """Raises FileLost. A WAL that was taken away lives as long as it is open: its content is saved to the file."""
        try:
            self._file.check()
        except FileLost:
            if self._file.is_ours():
                driver_of(self._connection).execute("PRAGMA wal_checkpoint")
            raise

    def _unavailable(self, text: str) -> StorageUnavailable:
        """The error for whoever waits; `text` goes to the log as well."""
        self._trouble.met(text)
        return StorageUnavailable(f"database {self.path} {text}")

    def _met(self, cause: Exception) -> str:
        """The sentence for the log. Damage is remembered: SQLite goes on writing to a file in which it has met some."""
        if is_damage(cause):
            self._file.damaged(str(cause))
        return self._reason(cause)

    def _reason(self, error: BaseException) -> str:
        """The text of an error that names the way out."""
        cause = error.orig if isinstance(error, DBAPIError) else error
        if is_damage(cause):
            return f"it is damaged ({cause}); {self._file.restore}"
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror + (f": {cause.filename}" if cause.filename else "")
        return str(cause)


def _seen(touched: "asyncio.Future[None]") -> None:
    """Logs a probe's unforeseen error. Trouble with the file is logged where it is met."""
    if not touched.cancelled() and (error := touched.exception()) and not isinstance(error, StorageUnavailable):
        _log.error("the database could not be probed", exc_info=error)


class _Write(NamedTuple):
    """The items handed in by one call, and their operation."""

    operation: Operation
    items: list[Any]
    alone: bool
    """True for one item, whose result is the result."""


def _perform(connection: Connection, batch: list[_Write]) -> list[list[Any]]:
    """Each operation once, with all its items, in order of first appearance. The results of each write."""
    # Grouped by operation, so that its statements run once for all callers. Within one, items keep their order of
    # arrival: a repeated request finds the first one.
    writes: dict[Operation, list[int]] = {}
    for index, write in enumerate(batch):
        writes.setdefault(write.operation, []).append(index)
    results: list[list[Any]] = [[]] * len(batch)
    for operation, indexes in writes.items():
        items = [item for index in indexes for item in batch[index].items]
        answers = operation(connection, items)
        if len(answers) != len(items):
            raise RuntimeError(f"{operation!r} answered {len(answers)} of {len(items)} items")
        first = 0
        for index in indexes:
            behind = first + len(batch[index].items)
            results[index] = list(answers[first:behind])
            first = behind
    return results
