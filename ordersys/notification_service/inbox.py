"""The inbox: every event recorded once for each consumer. The recorded row is the effect."""

from collections.abc import Sequence
from enum import Enum
from typing import Any, NamedTuple

from google.protobuf.any_pb2 import Any as AnyMessage
from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    UniqueConstraint,
    bindparam,
    func,
    select,
)

from ordersys.api.notification.v1.notification_log_pb2 import ListNotificationsRequest, Notification
from ordersys.contract.events import Event
from ordersys.contract.times import timestamp
from ordersys.runtime.base.ids import now
from ordersys.runtime.dead_letters import DeadLetters
from ordersys.runtime.idempotency import Requests
from ordersys.runtime.storage.schema import Schema
from ordersys.runtime.storage.statements import Statement, inserting, serialise
from ordersys.runtime.storage.traces import step

_METADATA = MetaData()
REQUESTS = Requests(_METADATA)
DEAD_LETTERS = DeadLetters(_METADATA)
NOTIFICATIONS = Table(
    "notifications",
    _METADATA,
    Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
    Column("consumer", String(64), nullable=False),
    Column("event_id", String(255), nullable=False),
    Column("type", String(255), nullable=False),
    Column("order_id", String(64), nullable=False),
    Column("version", BigInteger, nullable=False),
    # A redelivered or replayed event may come behind a newer one: it is recorded all the same, and marked.
    Column("late", Boolean, nullable=False),
    Column("text", Text, nullable=False),
    Column("record_time", BigInteger, nullable=False),
    Column("body", LargeBinary, nullable=False),
    # Once for each consumer, whatever the code above it believes: at least once on the wire becomes one record.
    UniqueConstraint("consumer", "event_id"),
    # For the newest version of an order, which is asked with every event.
    Index("notifications_by_order", "consumer", "order_id", "version"),
    # No number is given twice, also after the last row has gone: page tokens stand behind one
    # (https://www.sqlite.org/autoinc.html).
    sqlite_autoincrement=True,
)
_T = NOTIFICATIONS.c
_BODIES = Statement(
    select(_T.event_id, _T.body).where(
        _T.consumer == bindparam("consumer"), _T.event_id.in_(bindparam("ids", expanding=True))
    )
)
_NEWEST = Statement(
    select(_T.order_id, func.max(_T.version))
    .where(_T.consumer == bindparam("consumer"), _T.order_id.in_(bindparam("ids", expanding=True)))
    .group_by(_T.order_id)
)
_INSERT = inserting(NOTIFICATIONS)


def schema(consumer: str) -> Schema:
    """The schema of a notification service's database. Version 2 remembers requests, version 3 keeps dead letters."""
    owned = Schema(consumer, [REQUESTS.table.create, DEAD_LETTERS.table.create])
    for table in _METADATA.sorted_tables:
        table.to_metadata(owned.metadata)
    return owned


class Rendered(NamedTuple):
    """An event, and the sentence for a person."""

    event: Event
    text: str
    trace: str = ""
    """The context of the span in which it is recorded; empty where that is not sampled."""


class Recording(Enum):
    """The result of recording an event."""

    NEW = "new"
    LATE = "late"
    REPEATED = "repeated"
    CONFLICTING = "conflicting"
    """The id is recorded with another body, so that one of the two was made by a stranger, or after a restore."""


class Inbox:
    """The records of one consumer."""

    def __init__(self, consumer: str) -> None:
        self._consumer = consumer

    @step("record", lambda batch, _: [rendered.trace for rendered in batch])
    def record(self, connection: Connection, batches: list[list[Rendered]]) -> list[list[Recording]]:
        """An operation: records each event that is not recorded yet."""
        # One at a time, also where two processes record: what comes late is told by what is recorded, and a row that is
        # committed behind a later number would be skipped by whoever reads on from its page token.
        serialise(connection, f"inbox of {self._consumer}")
        all_events = [rendered.event for batch in batches for rendered in batch]
        transaction = _InboxBatch(self._consumer, connection, all_events)
        recordings = [[transaction.record(rendered) for rendered in batch] for batch in batches]
        transaction.write()
        return recordings

    def conflicts(self, connection: Connection, events: Sequence[Event]) -> list[bool]:
        """True for each event whose id is recorded with another body."""
        bodies = _bodies(self._consumer, connection, events)
        return [bodies.get(event.event_id, event.body) != event.body for event in events]

    def page(
        self, connection: Connection, query: ListNotificationsRequest, after: int, size: int
    ) -> list[Notification]:
        """Up to `size` notifications in the order of recording, beginning after `after`."""
        rows = select(NOTIFICATIONS).where(_T.consumer == self._consumer, _T.sequence > after)
        if query.order_id:
            rows = rows.where(_T.order_id == query.order_id)
        return [_notification(row) for row in connection.execute(rows.order_by(_T.sequence).limit(size))]


class _InboxBatch:
    """The events of one transaction, those of many batches: read at once, decided one by one, written at once.

    Two queries and one insert serve them all. Read before any is decided, they would not see each other: each decision
    is noted in what was read, so that an event that comes twice in a transaction is a repetition of itself.
    """

    def __init__(self, consumer: str, connection: Connection, events: Sequence[Event]) -> None:
        self._consumer = consumer
        self._connection = connection
        self._time = now()
        self._bodies = _bodies(consumer, connection, events)
        order_ids = list({event.order_id for event in events})
        self._newest: dict[str, int] = dict(_NEWEST.rows(connection, consumer=consumer, ids=order_ids))
        self._rows: list[tuple[Any, ...]] = []

    def record(self, rendered: Rendered) -> Recording:
        """Decides on one event, and notes it where it is new."""
        event = rendered.event
        recorded = self._bodies.get(event.event_id)
        # Compared by its bytes: protobuf does not promise one encoding, but a repeat comes from the same outbox row.
        if recorded is not None:
            return Recording.REPEATED if recorded == event.body else Recording.CONFLICTING
        newest = self._newest.get(event.order_id, 0)
        late = event.version < newest
        self._bodies[event.event_id] = event.body
        self._newest[event.order_id] = max(event.version, newest)
        self._rows.append(_row(self._consumer, rendered, late, self._time))
        return Recording.LATE if late else Recording.NEW

    def write(self) -> None:
        """Writes the new events."""
        _INSERT.put(self._connection, self._rows)


def _bodies(consumer: str, connection: Connection, events: Sequence[Event]) -> dict[str, bytes]:
    """The bodies that are recorded under the ids of `events`."""
    return dict(_BODIES.rows(connection, consumer=consumer, ids=[event.event_id for event in events]))


def _row(consumer: str, rendered: Rendered, late: bool, time: int) -> tuple[Any, ...]:
    """In the order of the table's columns."""
    event_id, kind, order_id, version, _, body = rendered.event
    return consumer, event_id, kind, order_id, version, late, rendered.text, time, body


def _notification(row: Any) -> Notification:
    return Notification(
        sequence=row.sequence,
        event_id=row.event_id,
        order_id=row.order_id,
        version=row.version,
        late=row.late,
        text=row.text,
        record_time=timestamp(row.record_time),
        event=AnyMessage(type_url=f"type.googleapis.com/{row.type}", value=row.body),
    )
