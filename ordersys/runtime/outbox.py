"""The outbox: events are appended in the transaction that changes what they tell of, and published afterwards.

A row goes only after the broker confirmed its event. What is unpublished is what is still there: no cursor,
so that nothing is skipped, whatever order rows are committed in. Each row has its exchange and routing key, as the
contract had them when it was appended: a later release that knows the event no more still publishes it.

What the broker did not take moves to a second table, out of the way of what was not tried yet; with it, in order, what
is about the same order. It is tried again from there (see relay.py).
"""

from collections.abc import Iterable, Sequence
from functools import cache, lru_cache
from typing import Any, NamedTuple

from sqlalchemy import (
    BigInteger,
    Column,
    Connection,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    String,
    Table,
    Text,
    bindparam,
    case,
    delete,
    exists,
    func,
    insert,
    select,
    text,
    update,
)

from ordersys.contract import topology
from ordersys.contract.events import EventMessage
from ordersys.contract.topology import Publication
from ordersys.runtime.storage.statements import Statement, inserting, writers_of

_MOST_COUNTED = 10_000  # rows, for metrics: every second, and in milliseconds


class Waiting(NamedTuple):
    """An event that waits to be published. `sequence` is its place among all."""

    sequence: int
    event: EventMessage
    to: Publication
    held: bool
    """True when an earlier event of its order waits to be tried again."""
    attempts: int = 0
    """The number of tries since the broker did not take it."""
    reason: str = ""
    """The reason why it is parked: why it can't be published as it is."""


class Late(NamedTuple):
    """An event that is tried again from `due_time` on, in microseconds since 1970; `reason` says why it is parked."""

    sequence: int
    due_time: int
    reason: str = ""


class Backlog(NamedTuple):
    """The events that wait, in numbers: those not tried yet, those tried before, and how many of these are parked.

    Up to 10,000 of each are counted, and those not tried yet estimated above that; `oldest_time` is in microseconds.
    """

    new: int
    late: int
    parked: int
    oldest_time: int | None


class Outbox:
    """The tables of events that wait to be published: those not tried yet, and those the broker did not take."""

    def __init__(self, metadata: MetaData) -> None:
        self.table = Table(
            "outbox",
            metadata,
            Column("sequence", BigInteger().with_variant(Integer, "sqlite"), primary_key=True),
            *_event_columns(),
            sqlite_autoincrement=True,
        )
        self.late = Table(
            "outbox_late",
            metadata,
            Column("sequence", BigInteger, primary_key=True, autoincrement=False),
            *_event_columns(),
            Column("attempts", Integer, nullable=False),
            Column("due_time", BigInteger, nullable=False),
            Column("reason", Text, nullable=False),  # why it is parked; empty of what was only nacked or returned
            Index("outbox_late_by_subject", "subject", "sequence"),
            Index("outbox_late_by_due_time", "due_time"),
        )
        self._appended = False
        self._prepare()

    def append(self, connection: Connection, events: Iterable[EventMessage]) -> None:
        """Adds `events`, in order, to the transaction under way. Raises KeyError for what is no event."""
        rows = [(*event, *_publication(event.type)) for event in events]
        # Noted before the commit: one that is undone costs a look in vain, one noted afterwards could be missed.
        self._appended = self._appended or bool(rows)
        self._insert.put(connection, rows)

    def take_appended(self) -> bool:
        """True when anything was appended since this was asked last: by a transaction that may have been undone."""
        appended, self._appended = self._appended, False
        return appended

    def oldest(self, connection: Connection, most: int, floor: int = 0) -> list[Waiting]:
        """The oldest events after `floor` that were not tried yet, or whose try was not answered."""
        return [
            Waiting(row[0], EventMessage._make(row[1:8]), _to(row[8], row[9], row[3]), bool(row[10]))
            for row in self._oldest.rows(connection, most=most, floor=floor)
        ]

    def writers(self, connection: Connection) -> frozenset[str]:
        """The transactions under way whose events may yet come, before others that are there already."""
        return writers_of(connection, self.table.name)

    def due(self, connection: Connection, time: int, most: int) -> list[Waiting]:
        """Events due by `time`, the one tried longest ago first; of each order only its earliest."""
        rows = self._due.rows(connection, time=time, most=most)
        return [
            Waiting(row[0], EventMessage._make(row[1:8]), _to(row[8], row[9], row[3]), False, *row[10:]) for row in rows
        ]

    def backlog(self, connection: Connection, floor: int = 0) -> Backlog:
        """The events after `floor` in numbers. Takes some 2 ms, however many there are."""
        new = self._count_new.rows(connection, floor=floor, most=_MOST_COUNTED)[0][0]
        first = self._first.rows(connection, floor=floor)
        if new == _MOST_COUNTED:
            # What waits in the order of its sequences has hardly a gap.
            (newest,) = self._last.rows(connection)[0]
            new = max(new, newest - first[0][0] + 1) if first else new
        late, parked = self._count_late.rows(connection, most=_MOST_COUNTED)[0]
        times = [row[1] for row in (*first, *self._first_late.rows(connection))]
        return Backlog(new, late, parked or 0, min(times, default=None))

    def waiting(self, connection: Connection) -> int:
        """The number of events that wait, tried or not."""
        tables = self.table, self.late
        return sum(int(connection.execute(select(func.count()).select_from(t)).scalar_one()) for t in tables)

    def parked(self, connection: Connection) -> Sequence[Any]:
        """The event id and the reason of each event that can't be published as it is."""
        late = self.late.c
        return connection.execute(
            select(late.event_id, late.reason).where(late.reason != "").order_by(late.sequence)
        ).all()

    def remove(self, connection: Connection, batches: list[list[tuple[int, str]]]) -> list[None]:
        """An operation: removes events that were confirmed when they were first tried, by their sequences and ids.

        A failover that loses commits gives their sequences again, to events that were not published yet.
        """
        gone = [event for batch in batches for event in batch]
        self._delete_events.do(connection, gone=[sequence for sequence, _ in gone], ids=[its_id for _, its_id in gone])
        return [None] * len(batches)

    def put_off(self, connection: Connection, batches: list[list[Late]]) -> list[None]:
        """An operation: moves events from `outbox` to `outbox_late`, or schedules them anew there."""
        values = [
            {"moved": late.sequence, "new_due_time": late.due_time, "new_reason": late.reason}
            for batch in batches
            for late in batch
        ]
        self._again.run(connection, values)
        self._move.run(connection, values)
        self._delete.do(connection, gone=[value["moved"] for value in values])
        return [None] * len(batches)

    def remove_late(self, connection: Connection, batches: list[list[int]]) -> list[None]:
        """An operation: removes events that were confirmed when they were tried again."""
        self._delete_late.do(connection, gone=[sequence for batch in batches for sequence in batch])
        return [None] * len(batches)

    def make_all_due(self, connection: Connection, items: list[None]) -> list[None]:
        """An operation: everything that was put off is due now."""
        self._make_all_due.run(connection, [{}])
        return items

    def make_due_again(self, connection: Connection, reasons: list[str]) -> list[None]:
        """An operation: what is parked for one of these reasons is due now."""
        self._make_due_again.run(connection, [{"parked_for": reason} for reason in set(reasons)])
        return [None] * len(reasons)

    def _prepare(self) -> None:
        table, late = self.table.c, self.late.c
        earlier = self.late.alias("earlier")
        columns = ["sequence", *EventMessage._fields, "exchange", "routing_key"]
        # Asked with every row, by the index on the subject: a later event of an order must not overtake one that waits.
        held = exists().where(late.subject == table.subject).label("held")
        self._insert = inserting(self.table)
        self._oldest = Statement(
            select(*(table[name] for name in columns), held)
            .where(table.sequence > bindparam("floor"))
            .order_by(table.sequence)
            .limit(bindparam("most"))
        )
        by_sequence = delete(self.table).where(table.sequence.in_(bindparam("gone", expanding=True)))
        self._delete = Statement(by_sequence)
        self._delete_events = Statement(by_sequence.where(table.event_id.in_(bindparam("ids", expanding=True))))
        self._due = Statement(
            select(*(late[name] for name in columns), late.attempts, late.reason)
            .where(late.due_time <= bindparam("time"))
            .where(~exists().where(earlier.c.subject == late.subject).where(earlier.c.sequence < late.sequence))
            .order_by(late.due_time, late.sequence)
            .limit(bindparam("most"))
        )
        after = table.sequence > bindparam("floor")
        some = select(table.sequence).where(after).limit(bindparam("most")).subquery()
        self._count_new = Statement(select(func.count()).select_from(some))
        self._first = Statement(select(table.sequence, table.time).where(after).order_by(table.sequence).limit(1))
        self._last = Statement(select(func.max(table.sequence)))
        late_ones = select((late.reason != "").label("parked")).limit(bindparam("most")).subquery()
        parked = func.sum(case((late_ones.c.parked, 1), else_=0))
        self._count_late = Statement(select(func.count(), parked).select_from(late_ones))
        self._first_late = Statement(select(late.sequence, late.time).order_by(late.sequence).limit(1))
        self._move = Statement(
            insert(self.late).from_select(
                [*columns, "attempts", "due_time", "reason"],
                select(
                    *(table[name] for name in columns),
                    text("0"),
                    bindparam("new_due_time"),
                    bindparam("new_reason"),
                ).where(table.sequence == bindparam("moved")),
            )
        )
        self._again = Statement(
            update(self.late)
            .where(late.sequence == bindparam("moved"))
            .values(attempts=late.attempts + 1, due_time=bindparam("new_due_time"), reason=bindparam("new_reason"))
        )
        self._delete_late = Statement(delete(self.late).where(late.sequence.in_(bindparam("gone", expanding=True))))
        self._make_all_due = Statement(update(self.late).values(due_time=0))
        # What is due already is not looked at: of many that go one after the other only the first costs anything.
        same = update(self.late).where(late.due_time > 0).where(late.reason == bindparam("parked_for"))
        self._make_due_again = Statement(same.values(due_time=text("0")))


def upgrade(connection: Connection) -> None:
    """Gives an outbox of schema version 1 its exchanges, routing keys and second table (see schema.Upgrade).

    What this release does not know keeps no exchange: it is parked, and published by a release that knows it.
    """
    # Its tables as of this release, apart from any schema.
    outbox = Outbox(MetaData())
    for name in ("exchange", "routing_key"):
        connection.execute(text(f"ALTER TABLE outbox ADD COLUMN {name} VARCHAR(255) DEFAULT '' NOT NULL"))
    outbox.late.create(connection)
    for event in topology.events().values():
        to = topology.publication(event)
        of_type = update(outbox.table).where(outbox.table.c.type == event.full_name)
        connection.execute(of_type.values(exchange=to.exchange, routing_key=to.routing_key))


def _event_columns() -> Iterable[Column[Any]]:
    """Those of an EventMessage, and where it is published to."""
    yield Column("event_id", String(64), nullable=False)
    yield Column("type", String(255), nullable=False)
    yield Column("source", String(255), nullable=False)
    yield Column("subject", String(64), nullable=False)
    yield Column("time", BigInteger, nullable=False)
    yield Column("traceparent", String(64), nullable=False)
    yield Column("body", LargeBinary, nullable=False)
    yield Column("exchange", String(255), nullable=False, server_default="")
    yield Column("routing_key", String(255), nullable=False, server_default="")


@lru_cache(maxsize=100)
def _to(exchange: str, routing_key: str, publisher: str) -> Publication:
    """One of a few: made anew for each row it would cost as much as the row itself."""
    return Publication(exchange, routing_key, publisher)


@cache
def _publication(event_type: str) -> tuple[str, str]:
    """The exchange and the routing key. Raises KeyError for what is no event."""
    to = topology.publication(topology.events()[event_type])
    return to.exchange, to.routing_key
