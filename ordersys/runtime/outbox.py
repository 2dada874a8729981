"""The outbox: events are appended in the transaction that changes what they tell of, and relayed afterwards.

A row goes only after the broker confirmed its event. What is unpublished is what is still there: no cursor,
so that nothing is skipped, whatever order rows are committed in.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import fields
from functools import partial
from typing import Protocol

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    bindparam,
    delete,
    func,
    select,
)

from ordersys.contract.errors import Refused
from ordersys.contract.events import EventMessage
from ordersys.runtime.crash import crash_point
from ordersys.runtime.database import Database
from ordersys.runtime.pauses import growing
from ordersys.runtime.statements import Row, Statement, inserting
from ordersys.runtime.tasks import endless

_log = logging.getLogger(__name__)
_CLOSE_SECONDS = 2.0
_TRIAL = 10
_AGAIN_SECONDS = 1.0
_REST_SECONDS = 0.02  # a lone event goes at once; of a stream few windows are made
_LOOK_SECONDS = 1.0  # one query when nothing is to do
_FIELDS = tuple(field.name for field in fields(EventMessage))


class Publisher(Protocol):
    """Whatever publishes events with confirms."""

    async def publish(self, events: Sequence[EventMessage]) -> list[bool]:
        """For each event, in order, whether the broker has it for sure."""
        ...


class Outbox:
    """The table of events that wait to be published."""

    def __init__(self, metadata: MetaData) -> None:
        self.table = Table(
            "outbox",
            metadata,
            Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
            Column("event_id", String(64), nullable=False),
            Column("type", String(255), nullable=False),
            Column("source", String(255), nullable=False),
            Column("subject", String(64), nullable=False),
            Column("time", BigInteger, nullable=False),
            Column("traceparent", String(64), nullable=False),
            Column("body", LargeBinary, nullable=False),
            sqlite_autoincrement=True,
        )
        sequence = self.table.c.sequence
        self._insert = inserting(self.table)
        self._oldest = Statement(select(self.table).order_by(sequence).limit(bindparam("most")))
        self._delete = Statement(delete(self.table).where(sequence == bindparam("gone")))
        self._appended = False

    def append(self, connection: Connection, events: Iterable[EventMessage]) -> None:
        """Adds `events`, in order, to the transaction under way."""
        rows = [{name: getattr(event, name) for name in _FIELDS} for event in events]
        self._appended = self._appended or bool(rows)
        self._insert.run(connection, rows)

    def take_appended(self) -> bool:
        """Whether anything was appended since this was asked last: by a transaction that may have been undone."""
        appended, self._appended = self._appended, False
        return appended

    def oldest(self, connection: Connection, most: int) -> list[Row]:
        """The rows that have waited longest: the sequence, then the fields of an EventMessage."""
        return self._oldest.rows(connection, most=most)

    def waiting(self, connection: Connection) -> int:
        """How many events wait."""
        return int(connection.execute(select(func.count()).select_from(self.table)).scalar_one())

    def remove(self, connection: Connection, batches: list[list[int]]) -> list[None]:
        """An operation: removes the rows of confirmed events."""
        self._delete.run(connection, [{"gone": sequence} for batch in batches for sequence in batch])
        return [None] * len(batches)


class Relay:
    """Publishes what stands in the outbox, oldest first, `window` events at a time.

    The rows of confirmed events go with the next commit; until then they are known to be published.
    """

    def __init__(
        self, tasks: asyncio.TaskGroup, database: Database, outbox: Outbox, publisher: Publisher, window: int
    ) -> None:
        self._database = database
        self._outbox = outbox
        self._publisher = publisher
        self._window = window
        self._woken = asyncio.Event()
        self._in_use = asyncio.Lock()
        self._leaving: set[int] = set()
        """The rows of confirmed events that may still be there."""
        database.after_commit(self._committed)
        self._task = endless(tasks, "relay", self._relay())

    def wake(self) -> None:
        """Says that there may be something to publish. What arrives while a window is on its way shares the next.

        Nobody has to say so of what a transaction has appended: its commit does.
        """
        self._woken.set()

    async def close(self) -> None:
        """Stops after the window under way, soon in any case; what is not confirmed stays in the outbox."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._in_use.acquire()  # and never released: no other window begins
        self._task.cancel()
        await asyncio.wait([self._task])

    def _committed(self) -> None:
        """Whoever has asked for a change may have gone meanwhile: its event goes all the same."""
        if self._outbox.take_appended():
            self.wake()

    async def _relay(self) -> None:
        """After a window that was not confirmed a few events go first: a broker that refuses them would refuse all."""
        pauses, most = growing(), self._window
        while True:
            async with self._in_use:
                rows = await self._oldest(most, pauses)
                confirmed = await self._publish(rows)
            if not confirmed:
                most = min(_TRIAL, self._window)
                await asyncio.sleep(next(pauses))
            elif len(rows) == most:
                pauses, most = growing(), min(2 * most, self._window)
            else:
                pauses, most = growing(), self._window
                await asyncio.sleep(_REST_SECONDS)
                await self._look_again()

    async def _look_again(self) -> None:
        """Returns when woken, or soon in any case: no event waits for the next one because a wake was lost."""
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_SECONDS):
                await self._woken.wait()
        self._woken.clear()

    async def _oldest(self, most: int, pauses: Iterator[float]) -> list[Row]:
        """The next window, however long the database takes to be readable."""
        while True:
            leaving = self._leaving.copy()  # as it was before the look: what is removed meanwhile may still be seen
            try:
                rows = await self._database.read(self._outbox.oldest, most + len(leaving))
                return [row for row in rows if row[0] not in leaving][:most]
            except Refused as error:
                _log.warning("the outbox has to wait: %s", error)
            await asyncio.sleep(next(pauses))

    async def _publish(self, rows: Sequence[Row]) -> bool:
        """Publishes one window; whether all of it was confirmed."""
        if not rows:
            return True
        confirmed = await self._publisher.publish([_event(row) for row in rows])
        crash_point("outbox.published")
        done = [row[0] for row, sure in zip(rows, confirmed, strict=True) if sure]
        self._remove(done)
        if len(done) < len(rows):
            _log.warning(
                "%d of %d events were not confirmed; they stay in the outbox", len(rows) - len(done), len(rows)
            )
        return len(done) == len(rows)

    def _remove(self, done: list[int]) -> None:
        """A lone row rides with the commit of another order; of a full window the commit is its own."""
        self._leaving.update(done)
        removal = self._database.write(self._outbox.remove, done, urgent=len(done) == self._window)
        removal.add_done_callback(partial(self._removed, done))

    def _removed(self, done: list[int], removal: "asyncio.Future[None]") -> None:
        """What could not be removed is published again: at least once."""
        self._leaving.difference_update(done)
        if not removal.cancelled() and (error := removal.exception()):
            _log.warning("%d events that were published could not be removed: %s", len(done), error)
            asyncio.get_running_loop().call_later(_AGAIN_SECONDS, self.wake)
        crash_point("outbox.removed")


def _event(row: Row) -> EventMessage:
    return EventMessage(*row[1:])
