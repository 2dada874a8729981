"""One database a process: a single writer thread with group commit, reading threads beside it.

What `write` answers is on disk (WAL with synchronous=FULL survives power loss). SQLite may corrupt a WAL with
two writing connections, so a file belongs to one process: a second one waits, then says so.
"""

import asyncio
import fcntl
import logging
import sqlite3
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

from sqlalchemy import (
    Connection,
    Engine,
    create_engine,
    event,
)
from sqlalchemy.exc import DBAPIError
from sqlalchemy.pool import NullPool, QueuePool, StaticPool

from ordersys.api.error.v1.error_reason_pb2 import ErrorReason
from ordersys.contract.errors import Refused, refuse
from ordersys.runtime.batching import Batcher
from ordersys.runtime.crash import crash_point
from ordersys.runtime.pauses import growing
from ordersys.runtime.schema import Schema, UnusableDatabase

R = TypeVar("R")
T = TypeVar("T")
Operation = Callable[[Connection, list[Any]], Sequence[Any]]
"""Works on a list of items in one transaction: one result for each, an exception to refuse that item alone."""

_log = logging.getLogger(__name__)
_BATCH = 256
_READERS = 4
_LOCK_SECONDS = 15.0
_PROBE_SECONDS = 5.0


class Database:
    """An open database. Made by `Database.open`."""

    def __init__(self, path: Path, schema: Schema) -> None:
        self.path = path
        self.writable = True
        self._schema = schema
        self._lock: IO[str] | None = None
        self._writer_thread = ThreadPoolExecutor(1, "writer")
        self._reader_threads = ThreadPoolExecutor(_READERS, "reader")
        self._writes: Batcher[tuple[Operation, Any], Any] = Batcher(self._commit, _BATCH)
        self._after_commit: list[Callable[[], None]] = []

    @classmethod
    async def open(
        cls, path: Path, schema: Schema, first: Callable[[Connection], None] = lambda connection: None
    ) -> "Database":
        """Opens, upgrades or makes the file at `path`; `first` fills a new one, in the transaction that makes it.

        Raises UnusableDatabase.
        """
        database = cls(path, schema)
        loop = asyncio.get_running_loop()
        try:
            await database._take_lock()
            await loop.run_in_executor(database._writer_thread, database._connect, first)
        except BaseException as error:
            await database.close()
            if isinstance(error, UnusableDatabase | OSError | DBAPIError):
                raise UnusableDatabase(f"database {path}: {getattr(error, 'orig', error)}") from error
            raise
        return database

    def write(
        self, operation: Callable[[Connection, list[Any]], Sequence[R | Exception]], item: Any, urgent: bool = True
    ) -> "asyncio.Future[R]":
        """Hands `item` to `operation`; the future has its result once the commit is on disk.

        Items of one operation that arrive while a commit is under way share the next one. An operation that
        fails is tried again for each item alone, so that one item never fails another. What is not urgent rides
        in the next commit somebody waits for.
        Raises Refused (STORAGE_UNAVAILABLE) when the file can't be written.
        """
        return self._writes.submit((operation, item), urgent)

    async def read(self, query: Callable[..., R], *arguments: Any) -> R:
        """What `query(connection, *arguments)` answers, from committed data.

        Raises Refused (STORAGE_UNAVAILABLE) when the file can't be read: it may be locked, or no descriptor be left.
        """
        loop = asyncio.get_running_loop()
        try:
            return await loop.run_in_executor(self._reader_threads, self._read, query, arguments)
        except (DBAPIError, sqlite3.Error) as error:
            if not (cause := _unusable(error)):
                raise
            _log.error("database %s can't be read: %s", self.path, cause)
            raise refuse(ErrorReason.STORAGE_UNAVAILABLE) from error

    def after_commit(self, tell: Callable[[], None]) -> None:
        """Has `tell` called in the event loop after each batch of writes, whoever still waits for their results."""
        self._after_commit.append(tell)

    async def probe(self) -> bool:
        """Whether the file can be written, by writing: in time, or it counts as not."""
        touched = self.write(self._schema.touch, None)
        touched.add_done_callback(_seen)
        written, _ = await asyncio.wait([touched], timeout=_PROBE_SECONDS)
        return self.writable and bool(written)

    async def close(self) -> None:
        """Finishes what was handed in and closes the file."""
        await self._writes.drained()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._reader_threads.shutdown)
        await loop.run_in_executor(self._writer_thread, self._disconnect)
        self._writer_thread.shutdown()
        if self._lock is not None:
            self._lock.close()

    async def _take_lock(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = self.path.with_suffix(".lock").open("w")
        pauses = growing(0.05, 1.0)
        until = time.monotonic() + _LOCK_SECONDS
        while not _locked(self._lock):
            if time.monotonic() > until:
                raise UnusableDatabase("another process uses it; stop that one first")
            _log.warning("waiting for database %s: another process uses it", self.path)
            await asyncio.sleep(next(pauses))

    def _connect(self, first: Callable[[Connection], None]) -> None:
        self._check()
        self._writer = _engine(self.path, "rwc", StaticPool, "PRAGMA synchronous=FULL", "PRAGMA journal_mode=WAL")
        with self._writer.begin() as connection:
            if self._schema.apply(connection):
                first(connection)
        self._readers = _engine(self.path, "ro", QueuePool, pool_size=_READERS)
        self._connection = self._writer.connect()

    def _check(self) -> None:
        """Looks before anything is written: a file that is not ours stays as it is, to the byte."""
        if self.path.exists():
            looking = _engine(self.path, "rw", NullPool)
            with looking.connect() as connection:
                self._schema.check(connection)

    def _disconnect(self) -> None:
        if hasattr(self, "_readers"):
            self._connection.close()
            # The readers first: the last connection to close is the one that checkpoints.
            self._readers.dispose()
        if hasattr(self, "_writer"):
            self._writer.dispose()

    def _read(self, query: Callable[..., R], arguments: tuple[Any, ...]) -> R:
        with self._readers.connect() as connection:
            return query(connection, *arguments)

    async def _commit(self, batch: list[tuple[Operation, Any]]) -> Sequence[Any]:
        loop = asyncio.get_running_loop()
        results = await loop.run_in_executor(self._writer_thread, self._transact, batch)
        for tell in self._after_commit:
            tell()
        causes = [_unusable(result) for result in results]
        self.writable = not any(causes)
        if self.writable:
            return results
        _log.error("database %s can't be written: %s", self.path, next(filter(None, causes)))
        unavailable = refuse(ErrorReason.STORAGE_UNAVAILABLE)
        return [unavailable if cause else result for cause, result in zip(causes, results, strict=True)]

    def _transact(self, batch: list[tuple[Operation, Any]]) -> list[Any]:
        """All in one transaction; should it fail, each item in one of its own."""
        try:
            with self._connection.begin():
                results = _perform(self._connection, batch)
                crash_point("database.performed")
        except Exception as error:  # noqa: BLE001 - raised for its item, or for all
            if len(batch) == 1 or _locked_out(error):
                return [error] * len(batch)
        else:
            crash_point("database.committed")
            return results
        return [result for item in batch for result in self._transact([item])]


def _locked(file: IO[str]) -> bool:
    """Whether this process has the lock now; it goes with the process, however that ends."""
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _locked_out(error: Exception) -> bool:
    """Whether somebody else holds the file: each item alone would wait as long again."""
    cause = _unusable(error)
    return cause is not None and cause.sqlite_errorcode == sqlite3.SQLITE_BUSY


def _unusable(result: object) -> sqlite3.OperationalError | None:
    """What the driver said of a file it can't use, itself or through SQLAlchemy; None of any other result."""
    cause = result.orig if isinstance(result, DBAPIError) else result
    return cause if isinstance(cause, sqlite3.OperationalError) else None


def _seen(touched: "asyncio.Future[None]") -> None:
    """What went wrong is logged where it happened."""
    if not touched.cancelled():
        touched.exception()


def refusing(decide: Callable[[T], R], item: T) -> R | Refused:
    """What `decide` says of `item`, a refusal as a value: in an operation it is the item's result."""
    try:
        return decide(item)
    except Refused as refused:
        return refused


def _perform(connection: Connection, batch: list[tuple[Operation, Any]]) -> list[Any]:
    """Each operation once, with all its items, in order of first appearance."""
    indexes: dict[Operation, list[int]] = {}
    for index, (operation, _) in enumerate(batch):
        indexes.setdefault(operation, []).append(index)
    results: list[Any] = [None] * len(batch)
    for operation, places in indexes.items():
        answers = operation(connection, [batch[place][1] for place in places])
        for place, answer in zip(places, answers, strict=True):
            results[place] = answer
    return results


def _engine(path: Path, mode: str, pool: Any, *pragmas: str, **options: Any) -> Engine:
    uri = f"file:{quote(str(path))}?mode={mode}"
    opened = partial(sqlite3.connect, uri, uri=True, check_same_thread=False, timeout=10, isolation_level=None)
    engine = create_engine("sqlite://", creator=opened, poolclass=pool, **options)

    @event.listens_for(engine, "connect")
    def connect(connection: Any, _: object) -> None:
        for pragma in pragmas:
            connection.execute(pragma)

    @event.listens_for(engine, "begin")
    def begin(connection: Connection) -> None:
        # The driver's own transactions start late and as readers (SQLite: BEGIN IMMEDIATE to read, then write).
        connection.exec_driver_sql("BEGIN IMMEDIATE" if mode == "rwc" else "BEGIN")

    return engine
