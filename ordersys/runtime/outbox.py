"""The outbox: events are appended in the transaction that changes what they tell of, and relayed afterwards.

A row goes only after the broker confirmed its event. What is unpublished is what is still there: no cursor,
so that nothing is skipped, whatever order rows are committed in.
"""

import asyncio
import logging
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Protocol

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
    insert,
    select,
)

from ordersys.contract.errors import Refused
from ordersys.contract.events import EventMessage
from ordersys.runtime.batching import Batcher
from ordersys.runtime.crash import crash_point
from ordersys.runtime.database import Database
from ordersys.runtime.pauses import growing

_log = logging.getLogger(__name__)
_CLOSE_SECONDS = 2.0
_TRIAL = 10
_REMOVED_AT_A_TIME = 1000  # databases limit the variables of a statement


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
        self._insert = insert(self.table)
        self._oldest = select(self.table).order_by(self.table.c.sequence).limit(bindparam("most"))
        self._delete = delete(self.table).where(self.table.c.sequence.in_(bindparam("sequences", expanding=True)))

    def append(self, connection: Connection, events: Iterable[EventMessage]) -> None:
        """Adds `events`, in order, to the transaction under way."""
        rows = [{name: getattr(event, name) for name in EventMessage.__slots__} for event in events]
        if rows:
            connection.execute(self._insert, rows)

    def oldest(self, connection: Connection, most: int) -> Sequence[Any]:
        """The rows that have waited longest."""
        return connection.execute(self._oldest, {"most": most}).all()

    def waiting(self, connection: Connection) -> int:
        """How many events wait."""
        return int(connection.execute(select(func.count()).select_from(self.table)).scalar_one())

    def remove(self, connection: Connection, batches: list[list[int]]) -> list[None]:
        """An operation: removes the rows of confirmed events."""
        sequences = [sequence for batch in batches for sequence in batch]
        for first in range(0, len(sequences), _REMOVED_AT_A_TIME):
            connection.execute(self._delete, {"sequences": sequences[first : first + _REMOVED_AT_A_TIME]})
        return [None] * len(batches)


class Relay:
    """Publishes what stands in the outbox, oldest first, `window` events at a time."""

    def __init__(self, database: Database, outbox: Outbox, publisher: Publisher, window: int) -> None:
        self._database = database
        self._outbox = outbox
        self._publisher = publisher
        self._window = window
        self._wakes: Batcher[None, None] = Batcher(self._relay, 1_000_000)
        self._task: asyncio.Task[None] | None = None
        self._closing = False

    def wake(self) -> None:
        """Says that there may be something to publish. What arrives while a window is on its way shares the next."""
        self._wakes.submit(None)

    async def close(self) -> None:
        """Stops after the window under way, soon in any case; what is not confirmed stays in the outbox."""
        self._closing = True
        if self._task is not None:
            await asyncio.wait([self._task], timeout=_CLOSE_SECONDS)
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _relay(self, wakes: list[None]) -> list[None]:
        """After a window that was not confirmed a few events go first: a broker that refuses them would refuse all."""
        self._task = asyncio.current_task()
        pauses, most = growing(), self._window
        while not self._closing and (rows := await self._oldest(most, pauses)):
            if await self._publish(rows):
                pauses, most = growing(), min(2 * most, self._window)
            else:
                most = min(_TRIAL, self._window)
                await asyncio.sleep(next(pauses))
        return [None] * len(wakes)

    async def _oldest(self, most: int, pauses: Iterator[float]) -> Sequence[Any]:
        """The next window, however long the database takes to be readable."""
        while True:
            try:
                return await self._database.read(self._outbox.oldest, most)
            except Refused as error:
                _log.warning("the outbox has to wait: %s", error)
            await asyncio.sleep(next(pauses))

    async def _publish(self, rows: Sequence[Any]) -> bool:
        """Publishes one window; whether all of it was confirmed and removed."""
        try:
            confirmed = await self._publisher.publish([_event(row) for row in rows])
        except Exception:  # noqa: BLE001 - logged; nobody else would publish what waits
            _log.exception("%d events could not be published; they stay in the outbox", len(rows))
            return False
        crash_point("outbox.published")
        done = [row.sequence for row, sure in zip(rows, confirmed, strict=True) if sure]
        try:
            if done:
                await self._database.write(self._outbox.remove, done)
                crash_point("outbox.removed")
        except Refused:
            return False  # they stay and are published again: at least once
        if len(done) < len(rows):
            _log.warning(
                "%d of %d events were not confirmed; they stay in the outbox", len(rows) - len(done), len(rows)
            )
        return len(done) == len(rows)


def _event(row: Any) -> EventMessage:
    return EventMessage(row.event_id, row.type, row.source, row.subject, row.time, row.traceparent, row.body)
